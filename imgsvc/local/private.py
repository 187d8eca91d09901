"""Files for this user's eyes only."""

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Write a whole file at once, for this user's eyes only."""
    new = path.with_name(path.name + ".new")
    new.touch(mode=0o600)
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # else a power cut can leave the name without the text
    new.replace(path)
