"""Uploads that are received in pieces: how far each is, and who may add to it. Each move is one Lua script.

Whoever adds takes a fence first, a number that grows; only the newest commits. So nobody has to unlock anything: who
died or stands still is passed over, and what it stores late counts for nothing.

A piece counts once it is durable. Parts of a fixed size are those of an S3 multipart upload; what is shorter is kept in
objects of its own, the tail, until a part is full.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Self

import orjson

from imgsvc.domain.options import Options, pack, unpack
from imgsvc.jobs.exchange import Exchange, QueueUnavailableError
from imgsvc.jobs.record import original_key
from imgsvc.jobs.rows import flat, row
from imgsvc.jobs.types import Admission, Allowance, Reservation

PIECES = ".piece."
"""What follows the original's key in the keys of pieces."""

Take = Literal["read", "close", "fence", "write"]
"""What is taken: nothing; nothing, but the writer says that it stores what it has; the fence of who writes now; or the
fence to write with."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the multipart upload. Its SHA-256 in hex is of what was received."""

    etag: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Piece:
    """An object of the tail: the bytes from `start` to before `end`, as the holder of `fence` stored them."""

    fence: int
    start: int
    end: int
    digest: str

    @classmethod
    def of(cls, fence: int, start: int, data: bytes | bytearray) -> Self:
        return cls(fence, start, start + len(data), _digest(data))

    @classmethod
    def named(cls, name: str) -> Self:
        fence, start, end, digest = name.split("-")
        return cls(int(fence), int(start), int(end), digest)

    @property
    def name(self) -> str:
        return f"{self.fence}-{self.start}-{self.end}-{self.digest}"

    @property
    def size(self) -> int:
        return self.end - self.start

    def is_of(self, data: bytes | bytearray) -> bool:
        return len(data) == self.size and _digest(data) == self.digest

    def key(self, original: str) -> str:
        """Where it is stored, beside the original: what removes that removes it too."""
        return f"{original}{PIECES}{self.name}"


@dataclass(frozen=True, slots=True)
class Transfer:
    """An upload that is received in pieces.

    `original` is the key of its original. `length` is None while it is not known. `fence` is the newest, the first
    being one more than `base`; `writer` that of the request that writes, until it has said that it adds no more, and
    `is_closing` while its client has gone and it stores what has come. `sha256` is that of the whole if a single writer
    has seen all of it. `header` is what the client described it with. `is_queued` is whether its job is.
    """

    id: str
    owner: str
    original: str
    offset: int
    length: int | None
    base: int
    fence: int
    writer: int | None
    is_closing: bool
    format: str | None
    multipart: str | None
    parts: tuple[Part, ...]
    tail: tuple[Piece, ...]
    sha256: str | None
    options: Options
    header: str
    expires_at: int
    is_complete: bool
    is_queued: bool

    @classmethod
    def of(cls, upload_id: str, row: Mapping[str, str], is_queued: bool) -> Self:
        return cls(
            id=upload_id,
            owner=row["owner"],
            original=row["pieces"].removesuffix(PIECES),
            offset=int(row["offset"]),
            length=int(row["length"]) if "length" in row else None,
            base=int(row["base"]),
            fence=int(row["fence"]),
            writer=int(row["writer"]) if "writer" in row else None,
            is_closing="closing" in row,
            format=row.get("format"),
            multipart=row.get("multipart"),
            parts=tuple(Part(*part.rsplit(":", 1)) for part in row.get("parts", "").split()),
            tail=tuple(map(Piece.named, row.get("tail", "").split())),
            sha256=row.get("sha256"),
            options=unpack(orjson.loads(row["options"])),
            header=row.get("header", ""),
            expires_at=int(row["expires_at"]),
            is_complete="complete" in row,
            is_queued=is_queued,
        )

    @property
    def has_one_writer(self) -> bool:
        """Whether there has been no other than the one who has the fence."""
        return self.fence == self.base + 1

    @property
    def is_received(self) -> bool:
        return self.offset == self.length


class TransferRefusedError(Exception):
    """Nothing was taken of `transfer`. `why` is OFFSET, LENGTH or QUOTA_EXCEEDED; then its owner has `quota_bytes` a
    day, and room for it in `wait_s`.
    """

    def __init__(self, why: str, transfer: Transfer, quota_bytes: int, wait_s: float) -> None:
        super().__init__(why)
        self.why = why
        self.transfer = transfer
        self.quota_bytes = quota_bytes
        self.wait_s = wait_s

    @property
    def reservation(self) -> Reservation:
        """The same as an admission that is refused."""
        left = Allowance(self.quota_bytes, 0, self.wait_s)
        return Reservation(Admission(self.why), self.transfer.id, self.wait_s, bytes=left)


class FencedError(Exception):
    """Another caller has taken the upload over, or it is gone."""


class Transfers:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._run = exchange.run
        self._settings = exchange.settings

    async def begin(
        self,
        upload_id: str,
        owner: str,
        options: Options,
        *,
        length: int | None = None,
        header: str = "",
        original: str = "",
    ) -> int | None:
        """Makes a reservation one that is received in pieces. Returns when its time is over, in ms since the epoch.

        None if its owner has begun too many. `original` is the key of its original if it is one of several tries.
        """
        fields: dict[str, str | bytes | int] = {
            "options": orjson.dumps(pack(options)),
            "pieces": (original or original_key(upload_id)) + PIECES,
        }
        if length is not None:
            fields["length"] = length
        if header:
            fields["header"] = header
        ttl_ms = self._settings.resumable_ttl_s * 1000
        args = (upload_id, owner, ttl_ms, self._settings.max_resumable)
        expires_at = await self._run("resumable_begin", *args, *flat(fields))
        if not expires_at:
            raise QueueUnavailableError  # Redis has lost the reservation, and so its other data
        return expires_at if expires_at > 0 else None

    async def take(
        self,
        upload_id: str,
        owner: str,
        kind: Take = "read",
        *,
        offset: int | None = None,
        length: int | None = None,
        holder: int | None = None,
    ) -> Transfer | None:
        """Returns the owner's upload as it is then, None if there is none such.

        Args:
            kind: what is taken.
            offset: is expected, unless it is None.
            length: the whole, if the caller knows it.
            holder: of whom the fence is taken; of any other, nothing is.

        Raises:
            TransferRefusedError: it has another offset or length, or is longer than its owner's quota allows.
        """
        given = ["" if value is None else value for value in (offset, length, holder)]
        _, quota_bytes = self._exchange.limits_of(owner)
        outcome, *answer = await self._run("resumable_take", upload_id, owner, kind, *given, quota_bytes)
        if outcome == b"UNKNOWN":
            return None
        transfer = Transfer.of(upload_id, row(answer[2]), bool(answer[0]))
        if outcome != b"OK":
            raise TransferRefusedError(outcome.decode(), transfer, quota_bytes, answer[1] / 1000)
        return transfer

    async def commit(
        self,
        transfer: Transfer,
        offset: int,
        *,
        tail: Iterable[Piece] = (),
        parts: Iterable[Part] = (),
        is_complete: bool = False,
        is_last: bool = False,
        **fields: str | None,
    ) -> None:
        """Records what has become durable: everything up to `offset`, by the parts to be added and by the whole tail.

        Args:
            transfer: as it was taken, with the fence.
            offset: how many bytes there are now.
            tail: all of it, as it is now.
            parts: those that are added.
            is_complete: there is nothing more to come, and no tail.
            is_last: the caller adds no more.
            fields: others of the transfer.

        Raises:
            FencedError: the caller no longer has the newest fence.
        """
        names = " ".join(piece.name for piece in tail)
        added = " ".join(f"{part.etag}:{part.sha256}" for part in parts)
        flags = (int(is_complete), int(is_last))
        known = flat({name: value for name, value in fields.items() if value is not None})
        args = (transfer.id, transfer.fence, offset, names, added, *flags, *known)
        if not await self._run("resumable_commit", *args):
            raise FencedError

    async def drop(self, upload_id: str, owner: str) -> bool:
        """Gives the upload up. False if the owner has none such, or its job is queued already."""
        return await self._run("resumable_drop", upload_id, owner) == 1


def original_of(prefix: str) -> str | None:
    """Returns the key of the original whose pieces have keys that begin with `prefix`; None if it is no such prefix."""
    return prefix.removesuffix(PIECES) if prefix.endswith(PIECES) else None


def _digest(data: bytes | bytearray) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
