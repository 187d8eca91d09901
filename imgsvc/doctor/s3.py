"""May we do with the bucket what uploads and their results need?

Each right is tried on an object of its own, under a prefix of its own, which is cleared afterwards.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

from imgsvc.doctor.finding import Finding, fail, ok, root, warn
from imgsvc.doctor.redis import clock
from imgsvc.runtime.settings import Settings
from imgsvc.storage import PART_BYTES, Storage, StorageError

PREFIX = "doctor/"
MAX_SKEW_S = 10.0  # requests are refused from 15 min on; its times have whole seconds, and its answer took some

_PROBE = b"imgsvc doctor"


class _StoppedError(Exception):
    """An upload ends in its middle, as a client's may."""


async def check_s3(settings: Settings) -> list[Finding]:
    async with Storage.open(settings) as storage:
        try:
            await storage.ping()
        except StorageError as error:
            return [no_bucket(error, settings)]
        findings = [ok("s3", f"bucket {settings.s3_bucket}")]
        prefix = f"{PREFIX}{uuid4()}/"
        findings += await _read_and_write(storage, f"{prefix}object")
        findings.append(await _multipart(storage, f"{prefix}parts"))
        findings.append(await _clear(storage, prefix))
        if not settings.s3_delete_versions:
            findings += await _versions(storage)
        return findings


def no_bucket(error: StorageError, settings: Settings) -> Finding:
    if "(404)" in (reason := root(error)):  # as botocore words it; a port or a host may have these digits too
        detail = f"there is no bucket {settings.s3_bucket} yet"
        return warn("s3", detail, "Make it; or start the API, which makes it where its credentials may.")
    return fail("s3", reason, _advice(error, "Check IMGSVC_S3_ENDPOINT_URL, IMGSVC_S3_REGION and the credentials."))


def _advice(error: StorageError, otherwise: str) -> str:
    """What storage itself knows to do about it, before what is mostly to be done."""
    return f"{error.reason[0].upper()}{error.reason[1:]}. {otherwise}" if error.reason else otherwise


async def _read_and_write(storage: Storage, key: str) -> list[Finding]:
    try:
        await storage.put(key, _PROBE, "application/octet-stream")
        now = datetime.now(UTC)
        async with storage.read(key) as found:
            data = b"".join([chunk async for chunk in found[1]]) if found else b""
    except StorageError as error:
        advice = _advice(error, "Allow s3:PutObject and s3:GetObject on the bucket's objects.")
        return [fail("s3 objects", root(error), advice)]
    if not found or data != _PROBE:
        return [fail("s3 objects", "what was put is not what is read", "Use an S3 that is consistent after a write.")]
    skew_s = (found[0].last_modified - now).total_seconds()
    return [ok("s3 objects", "can be put and read"), clock("s3 clock", skew_s, MAX_SKEW_S)]


async def _multipart(storage: Storage, key: str) -> Finding:
    """Begins an upload of several parts, and leaves it unfinished."""

    async def chunks() -> AsyncIterator[bytes]:
        yield bytes(PART_BYTES)
        raise _StoppedError

    try:
        await storage.put_stream(key, chunks(), "application/octet-stream", owner="", on_begin=lambda: None)
    except _StoppedError:
        return ok("s3 multipart", "uploads in parts can begin")
    except StorageError as error:
        advice = _advice(error, "Allow s3:PutObject for uploads in parts on the bucket's objects.")
        return fail("s3 multipart", root(error), advice)
    raise AssertionError("an upload without an end has ended")


async def _clear(storage: Storage, prefix: str) -> Finding:
    try:
        await storage.clear(prefix)
        can_list = await storage.can_list_uploads()
    except StorageError as error:
        advice = (
            "Allow s3:ListBucket and s3:ListBucketMultipartUploads on the bucket (with IMGSVC_S3_DELETE_VERSIONS, "
            "s3:ListBucketVersions), s3:DeleteObject (and s3:DeleteObjectVersion) and s3:AbortMultipartUpload on its "
            f"objects; what was tried is left under {prefix}."
        )
        return fail("s3 clearing", root(error), _advice(error, advice))
    if not can_list:
        advice = "Set a lifecycle rule on the bucket that aborts uploads in parts after a day, or use another server."
        return warn("s3 clearing", "this server cannot list unfinished uploads, so that they stay", advice)
    return ok("s3 clearing", "objects and unfinished uploads can be listed and removed")


async def _versions(storage: Storage) -> list[Finding]:
    """A warning where the bucket keeps what is deleted; None where it does not, or where S3 does not report it."""
    try:
        if not await storage.is_versioned():
            return []
    except StorageError:
        return []
    advice = "Set IMGSVC_S3_DELETE_VERSIONS=1, or have a lifecycle rule expire old versions, or suspend versioning."
    return [warn("s3 versions", "the bucket keeps versions, so files that are deleted stay in it", advice)]
