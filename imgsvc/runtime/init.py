"""What runs as PID 1 where a container has no init: it forwards signals, and reaps orphans.

The kernel drops a signal to PID 1 that has no handler, so SIGTERM would do nothing while Python imports; and orphans
become children of PID 1, which nobody here waits for. So PID 1 is this loop, and all else its child.

What it cannot mend is a signal in the hundredth of a second that the interpreter itself takes to start.
"""

import os
import signal

_HANDED_ON = {
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH),
}
_FROM_THE_KERNEL = 0x80  # SI_KERNEL: a key at the terminal, which our child has had too


def stay_behind() -> None:
    """As PID 1, returns in a child alone, and ends with it. In any other process it does nothing."""
    if os.getpid() != 1:
        return
    # a signal that is blocked waits, also for PID 1
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDED_ON | {signal.SIGCHLD})
    child = os.fork()
    if not child:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    status = None
    while status is None:
        received = signal.sigwaitinfo(_HANDED_ON | {signal.SIGCHLD})
        if received.si_signo != signal.SIGCHLD:
            if received.si_code != _FROM_THE_KERNEL:
                os.kill(child, received.si_signo)  # it is ours until we have waited for it, so the number is its own
        else:
            status = _reap(child)
    code = os.waitstatus_to_exitcode(status)
    os._exit(128 - code if code < 0 else code)  # nothing was opened here that would have to be closed


def _reap(child: int) -> int | None:
    """Wait for all that have ended; the status of `child`, if it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if not pid:
            return found
        if pid == child:
            found = status
