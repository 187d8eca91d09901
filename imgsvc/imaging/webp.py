"""WebP: what its header hides from the decoder."""

_ANIMATION, _ALPHA = 0x02, 0x10


def with_clear_canvas(data: bytes) -> bytes:
    """The file of an animation, marked as transparent: its frames may leave parts of the canvas alone.

    Decoders paint those black where the header declares no transparency; browsers leave them clear.
    """
    if data[12:16] != b"VP8X" or len(data) < 30 or not data[20] & _ANIMATION or data[20] & _ALPHA:
        return data
    return data[:20] + bytes((data[20] | _ALPHA,)) + data[21:]
