"""What an image may be, as the settings say it."""

from imgsvc.model import Limits
from imgsvc.settings import Settings


def limits_of(settings: Settings) -> Limits:
    return Limits(
        max_pixels=settings.max_pixels,
        max_side=settings.max_side,
        max_frames=settings.max_frames,
        max_animation_pixels=settings.max_animation_pixels,
        frames_over=settings.frames_over,
        truncated=settings.truncated,
        max_bytes=settings.decoder_memory_bytes,
    )
