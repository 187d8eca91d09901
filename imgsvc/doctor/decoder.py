"""Does a decoder start here, how far is it locked down, and what can it read and write?"""

import base64
from typing import get_args

from imgsvc.decoder.pool import DecoderError, DecoderPool, DecoderStartError
from imgsvc.doctor.finding import Finding, fail, ok, warn
from imgsvc.domain.formats import FORMATS, HEIF
from imgsvc.domain.model import FileFormat, Variant
from imgsvc.domain.overlays import Overlay, OverlayFile, Overlays
from imgsvc.runtime.settings import Settings

_WRITTEN: tuple[FileFormat, ...] = get_args(FileFormat)
_PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")  # a GIF


async def check_decoder(settings: Settings, overlays: Overlays) -> list[Finding]:
    pool = DecoderPool(
        processes=1,
        timeout_s=settings.decode_timeout_s,
        memory_bytes=settings.decoder_memory_bytes,
        total_memory_bytes=settings.total_decoder_memory_bytes,
        limits=settings.limits,
        sandbox=settings.sandbox,
    )
    try:
        async with pool:
            return [_sandbox(pool.sandbox_status), _read(), await _written(pool), *await _overlays(pool, overlays)]
    except DecoderStartError as error:
        return [fail("sandbox", str(error), "Workers cannot start like this: mend what it names.")]


def _sandbox(sandbox_status: str) -> Finding:
    match sandbox_status:
        case "full":
            return ok("sandbox", sandbox_status)
        case "off":
            return warn("sandbox", "decoders are not locked down", "Set IMGSVC_SANDBOX to auto or require.")
        case _:
            advice = "Run on Linux 5.13 or later with Landlock and seccomp, and let the container use them."
            return warn("sandbox", sandbox_status, advice)


def _read() -> Finding:
    lacks = "" if HEIF.name in FORMATS else "; HEIC needs the package pillow-heif (the extra `heif`)"
    return ok("formats read", ", ".join(FORMATS) + lacks)


async def _written(pool: DecoderPool) -> Finding:
    failed = [name for name in _WRITTEN if not await _writes(pool, name)]
    if failed:
        return fail(
            "formats written", f"not {', '.join(failed)}", "Install Pillow from its wheels, which have them all."
        )
    return ok("formats written", ", ".join(_WRITTEN))


async def _overlays(pool: DecoderPool, overlays: Overlays) -> list[Finding]:
    """Which of the overlays can be decoded; nothing where there are none."""
    failed = [name for name, file in overlays.items() if not await _lays(pool, name, file)]
    if failed:
        advice = "Use images that are whole and have no more than 16 megapixels, nor more than IMGSVC_MAX_PIXELS."
        return [fail("overlays", f"not decoded: {', '.join(failed)}", advice)]
    return [ok("overlays", ", ".join(overlays))] if overlays else []


async def _lays(pool: DecoderPool, name: str, file: OverlayFile) -> bool:
    probe = Variant("probe", 64, 64, enlarge=True, overlay=Overlay(name, sha256=file.sha256))
    try:
        await pool.render(_PIXEL, [probe], overlays={file.sha256: file.data})
    except DecoderError:
        return False
    return True


async def _writes(pool: DecoderPool, name: FileFormat) -> bool:
    try:
        await pool.render(_PIXEL, [Variant("probe", 1, 1, format=name)])
    except DecoderError:
        return False
    return True
