"""Saves the files of a result: complete or not at all, under safe names, without replacing existing files."""

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


async def save(client: Client, file: File, folder: Path, *, force: bool) -> Path:
    """Downloads a file of a result, and verifies its SHA-256. Returns the path of the file.

    Raises:
        NotSavedError: the file exists already, its name is not safe, or it arrived incomplete.
        ClientError: the service refuses the download.
        OSError: the folder cannot be written.
    """
    target = folder / _safe_name(file["url"])
    if target.exists() and not force:
        raise _exists(target)
    # in the same folder: a rename is atomic only within one file system
    part = folder / f".{secrets.token_hex(8)}.part"
    try:
        if await _download(client, file["url"], part) != file["sha256"]:
            raise NotSavedError(f"{target.name} arrived incomplete: try again")
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
    """Creates the file, so that no other process saves to it."""
    try:
        target.open("x").close()
    except FileExistsError:
        raise _exists(target) from None


def _safe_name(url: str) -> str:
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    if not name or name.startswith(".") or "\\" in name or not name.isprintable():
        raise NotSavedError(f"the server names a file {name!r}, which is not safe to save")
    return name


def _exists(target: Path) -> NotSavedError:
    return NotSavedError(f"{target} exists already: use --force to replace it, or another folder")
