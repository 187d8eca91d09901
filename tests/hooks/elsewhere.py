"""`imgsvc` as on another system, its decoders too: `darwin` (macOS), or `bare` (a Linux without Landlock and seccomp).

What macOS lacks is taken away before anything of ours is imported, here and in each process that is started.
"""

import sys

DARWIN = """
import ctypes, fcntl, os, signal, sys
sys.platform = "darwin"
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

if __name__ == "__main__":
    code = SYSTEMS[sys.argv.pop(1)]
    exec(code)
    from imgsvc import interpreter

    # after the path is set, before the module is run; braces are doubled, for it is a template
    first = f"exec({code!r}); ".replace("{", "{{").replace("}", "}}")
    interpreter._START = interpreter._START.replace("import runpy;", f"{first}import runpy;")  # pyright: ignore[reportPrivateUsage]
    from imgsvc.cli import main

    main()
