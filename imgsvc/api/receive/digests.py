"""`Content-Digest` and `Repr-Digest` of an upload (RFC 9530): what was sent is what has come.

Both are of the whole body as it is sent, of a form too: a body has no content coding here.
"""

import hashlib
import hmac
from collections.abc import AsyncGenerator, Mapping
from typing import cast

import http_sf
from starlette.requests import Request

from imgsvc.api.http.errors import ProblemError

_FIELDS = ("content-digest", "repr-digest")
_ALGORITHMS = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}
_MAX_BYTES = 4096


def verified(request: Request, body: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Yields the body; fails at its end if it is not what the request's digests say. Unknown algorithms are ignored.

    Raises:
        ProblemError: at once, malformed_request: a field cannot be read; or digest_mismatch.
    """
    wanted = [(name, digest) for field in _FIELDS for name, digest in _digests(request, field).items()]
    return _checked(body, wanted) if wanted else body


async def _checked(body: AsyncGenerator[bytes], wanted: list[tuple[str, bytes]]) -> AsyncGenerator[bytes]:
    hashes = {name: _ALGORITHMS[name]() for name, _ in wanted}
    async for chunk in body:
        for each in hashes.values():
            each.update(chunk)
        yield chunk
    for name, digest in wanted:
        if not hmac.compare_digest(hashes[name].digest(), digest):
            raise ProblemError("digest_mismatch", f"The body does not have the {name} that was sent. Send it again.")


def _digests(request: Request, field: str) -> Mapping[str, bytes]:
    lines = request.headers.getlist(field)
    if not lines:
        return {}
    try:
        return _known(", ".join(lines))
    except ValueError as error:
        example = f"{field.title()}: sha-256=:<base64>:"
        raise ProblemError("malformed_request", f"{field.title()} {error}; write {example}.") from None


def _known(text: str) -> dict[str, bytes]:
    if len(text) > _MAX_BYTES:
        raise ValueError(f"is longer than {_MAX_BYTES} bytes")
    try:
        members = http_sf.parse(text.encode("latin-1"), tltype="dictionary", on_duplicate_key=_refuse)
    except (http_sf.StructuredFieldError, OverflowError) as error:
        raise ValueError("is not a dictionary of digests") from error
    values = {name: member[0] for name, member in cast("dict[str, tuple[object, object]]", members).items()}
    found = {name: value for name, value in values.items() if isinstance(value, bytes)}
    if lacking := values.keys() - found.keys():
        raise ValueError(f"has no digest for {min(lacking)[:40]!r}")
    known = {name: value for name, value in found.items() if name in _ALGORITHMS}
    for name, value in known.items():
        if len(value) != _ALGORITHMS[name]().digest_size:
            raise ValueError(f"has a {name} of {len(value)} bytes")
    return known


def _refuse(name: str, *_: object) -> None:
    raise ValueError(f"has {name[:40]!r} twice")
