"""Files of a result, saved: whole or not at all, under a safe name, and over nothing that is there already."""

import asyncio
import hashlib
import secrets
from contextlib import aclosing
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from imgsvc.client.http import Client
from imgsvc.domain.documents import File


class NotSavedError(Exception):
    """A file was not saved; the message says what to do."""


async def save(client: Client, variant: File, folder: Path, *, force: bool) -> Path:
    """Downloads what a result's `variants` tell of, and checks it against its SHA-256.

    Raises:
        NotSavedError: there is such a file already, its name is not safe, or it did not come whole.
        ClientError: the service does not give it.
        OSError: the folder cannot be written.
    """
    target = folder / _safe_name(variant["url"])
    if target.exists() and not force:
        raise _is_there(target)
    # beside its target, since a rename is atomic within one file system only
    part = folder / f".{secrets.token_hex(8)}.part"
    try:
        if await _download(client, variant["url"], part) != variant["sha256"]:
            raise NotSavedError(f"{target.name} did not come whole: try again")
        if not force:
            _reserve(target)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


async def _download(client: Client, url: str, part: Path) -> str:
    digest = hashlib.sha256()
    with part.open("xb") as file:
        async with aclosing(client.download(url)) as chunks:
            async for chunk in chunks:
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
    return digest.hexdigest()


def _reserve(target: Path) -> None:
    """Whoever makes the file first may fill it."""
    try:
        target.open("x").close()
    except FileExistsError:
        raise _is_there(target) from None


def _safe_name(url: str) -> str:
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    if not name or name.startswith(".") or "\\" in name or not name.isprintable():
        raise NotSavedError(f"the server names a file {name!r}, which is not safe to save")
    return name


def _is_there(target: Path) -> NotSavedError:
    return NotSavedError(f"{target} is there already: use --force to replace it, or another folder")
