"""How a process of ours is set up before it does anything: its log, its allocator, its presets, its files."""

import ctypes
import resource
import sys

from imgsvc.domain.presets import Catalogue, PresetError, load
from imgsvc.runtime import hangup, logs
from imgsvc.runtime.environment import PREFIX
from imgsvc.runtime.local_settings import LocalSettings, SettingsError

_M_MMAP_THRESHOLD = -3  # malloc.h
_DARWIN_FILES = 10_240  # OPEN_MAX: macOS allows no more where it reports no limit


def set_up(settings: LocalSettings) -> None:
    logs.set_up(settings)
    hangup.ignore()
    _keep_big_buffers_apart()


def _keep_big_buffers_apart() -> None:
    """Makes glibc give each buffer of 1 MiB and more its own mapping, which returns to the system when freed.

    Left alone, glibc raises that threshold with each such buffer that is freed, and parts of uploads then
    fragment the heap: twenty uploads of 64 MiB left 360 MB allocated, and leave 17 MB with this.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries have no such threshold
        mallopt(_M_MMAP_THRESHOLD, 1024 * 1024)


def load_presets(settings: LocalSettings) -> Catalogue:
    """The presets that uploads can ask for, and the overlays of their variants.

    Raises:
        SettingsError: with one line that names what is wrong with the file of presets, and where in it.
    """
    try:
        return load(settings.presets_file)
    except PresetError as error:
        raise SettingsError(f"{PREFIX}PRESETS_FILE is wrong: {error}") from error


def allow_files(count: int) -> int:
    """Lets this process have so many files and sockets open, as far as the system allows it. Returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _DARWIN_FILES if sys.platform == "darwin" and hard == resource.RLIM_INFINITY else hard
    wanted = count if most == resource.RLIM_INFINITY else min(count, most)
    if soft == resource.RLIM_INFINITY:
        return count
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)
