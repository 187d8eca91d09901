"""`imgsvc` as on another system, its decoders too: `darwin` (macOS), or `bare` (a Linux without Landlock and seccomp).

What macOS lacks is taken away before anything of ours is imported, here and in each process that is started.
"""

import sys

DARWIN = """
import ctypes, fcntl, os, signal, sys, sysconfig, types
sysconfig.get_config_vars()  # of this interpreter, which was built for another system
sys.platform = "darwin"
sys.modules["_scproxy"] = types.SimpleNamespace(_get_proxy_settings=dict, _get_proxies=dict)
for module, names in ((os, ("sched_getaffinity", "pipe2")), (fcntl, ("F_SETPIPE_SZ",)), (signal, ("sigwaitinfo",))):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
class Library(ctypes.CDLL):
    def __getattr__(self, name):
        if name in ("mallopt", "prctl", "syscall"):
            raise AttributeError(name)
        return super().__getattr__(name)
ctypes.CDLL = Library
"""
BARE = """
import errno
def refuse():
    raise OSError(errno.ENOSYS, "Function not implemented")
try:
    from imgsvc.decoder import lockdown
except ImportError:
    pass
else:
    lockdown._PARTS.update(landlock=refuse, seccomp=refuse)
"""
SYSTEMS = {"darwin": DARWIN, "bare": BARE}

FIRST = "from tests.support.hooks import elsewhere; elsewhere.become('{system}'); "


def become(system: str) -> None:
    exec(SYSTEMS[system], {})
    from imgsvc.runtime import interpreter

    started = FIRST.format(system=system)  # after the path is set, before the module is run
    interpreter._START = interpreter._START.replace("import runpy;", f"{started}import runpy;")  # pyright: ignore[reportPrivateUsage]


if __name__ == "__main__":
    become(sys.argv.pop(1))
    from imgsvc.cli.main import main

    main()
