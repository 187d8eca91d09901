"""Receives a piece of an upload: from the network to S3, part by part, and what is left over to the tail.

    chunks ──▶ fresh bytes ──part is full──▶ part of the multipart upload ─┐
                    │                             ▲                        ├──▶ committed
                    └──no more comes──▶ tail ─────┘────────────────────────┘

What has been committed is durable, and what has not is sent again. One part is stored while the next one arrives, as
for any upload.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress

import anyio

from imgsvc.api.http.budget import Allocation
from imgsvc.api.http.context import Services
from imgsvc.api.http.errors import ProblemError
from imgsvc.api.receive import by_token
from imgsvc.api.receive.form import too_large
from imgsvc.api.receive.upload import format_of
from imgsvc.api.resumable.checksum import Checksum
from imgsvc.domain.formats import KNOWN, SNIFF_BYTES
from imgsvc.domain.tokens import UploadToken
from imgsvc.jobs.exchange import QueueUnavailableError
from imgsvc.jobs.resumable import FencedError, Part, Piece, Transfer
from imgsvc.storage import RESUMABLE_PART_BYTES, StorageError

log = logging.getLogger(__name__)

_PIECE_TYPE = "application/octet-stream"


class Receiver:
    """One request's piece of an upload, which was taken to write.

    With a checksum, nothing counts before all of the piece is there and agrees with it.
    """

    def __init__(
        self,
        transfer: Transfer,
        services: Services,
        allocation: Allocation,
        checksum: Checksum | None,
        token: UploadToken | None,
    ) -> None:
        self.offset = transfer.offset
        self._transfer = transfer
        most = by_token.max_bytes(token, services.settings.max_upload_bytes)
        self._limit = most if transfer.length is None else transfer.length
        self._token = token
        self._services = services
        self._allocation = allocation
        self._checksum = checksum
        self._upload = services.storage.resumable(transfer.original)
        self._fresh = bytearray()
        self._head = bytearray()
        self._format = transfer.format
        self._tail = transfer.tail
        self._multipart = transfer.multipart
        self._begun: str | None = None
        self._stored = list[Piece]()  # by this writer
        self._parts = len(transfer.parts)
        self._uncounted = list[Part]()  # what is stored and not committed: of a piece with a checksum, all
        self._obsolete = list[Piece]()  # what is not needed any more after the next commit
        self._sending: asyncio.Task[None] | None = None
        # one that has seen all, and which no other writer can have interfered with
        self._sha256 = hashlib.sha256() if transfer.has_one_writer else None

    async def receive(self, chunks: AsyncGenerator[bytes]) -> None:
        """Reads `chunks` to the end; of what has come by an error of theirs, as much as possible is kept.

        Raises:
            FencedError: another request has taken the upload over.
            ProblemError: unsupported_media_type, upload_too_large, checksum_mismatch.
        """
        try:
            await self._receive(chunks)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._leave()
            raise

    async def _receive(self, chunks: AsyncGenerator[bytes]) -> None:
        self._allocation.acquire(sum(piece.size for piece in self._tail))
        if self._format is None:
            self._head += await self._read(self._tail)
        while True:
            try:
                chunk = await anext(chunks, b"")
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._keep()
                raise
            if not chunk:
                break
            await self._add(chunk)
        if self._checksum and not self._checksum.agrees:
            raise ProblemError("checksum_mismatch", "The body does not have the checksum sent with it. Send it again.")
        await self._end()

    async def _add(self, chunk: bytes) -> None:
        if self.offset + len(chunk) > self._limit:
            raise too_large(self._limit)
        if self._checksum:
            self._checksum.update(chunk)
        if self._format is None:
            self._head += chunk[:SNIFF_BYTES]
            if len(self._head) >= SNIFF_BYTES:
                self._judge()
        rest = memoryview(chunk)
        while rest:
            room = RESUMABLE_PART_BYTES - self.offset % RESUMABLE_PART_BYTES
            self._fresh += rest[:room]
            self.offset += min(room, len(rest))
            rest = rest[room:]
            if self.offset % RESUMABLE_PART_BYTES == 0 and self.offset != self._transfer.length:
                await self._send()

    def _judge(self) -> None:
        """Takes the file for what its first bytes say, and refuses what it may not be."""
        fmt = format_of(bytes(self._head[:SNIFF_BYTES]))
        if self._token:
            by_token.check_format(self._token, fmt)
        self._format = fmt.name

    async def _send(self) -> None:
        """Has a part stored while the next one arrives."""
        await self._sent()
        fresh, self._fresh = self._fresh, bytearray()
        self._sending = asyncio.create_task(self._send_part(fresh, self.offset))

    async def _sent(self) -> None:
        if self._sending:
            await self._sending
            self._sending = None

    async def _send_part(self, fresh: bytearray, end: int, *, is_complete: bool = False) -> None:
        tail, self._tail = self._tail, ()
        part = await self._put_part(await self._read(tail) + fresh if tail else fresh)
        self._allocation.release(len(fresh) + sum(piece.size for piece in tail))
        self._uncounted.append(part)
        self._obsolete += tail
        if is_complete or not self._checksum:
            await self._commit(end, is_complete=is_complete, is_last=is_complete)

    async def _put_part(self, data: bytearray) -> Part:
        sha256 = await asyncio.to_thread(self._digest, data)
        if self._multipart is None:
            assert self._format, "it is known before there is enough for a part"
            content_type = KNOWN[self._format].media_type
            self._multipart = self._begun = await self._upload.begin(content_type, self._transfer.owner)
        self._parts += 1
        return Part(await self._upload.put(self._multipart, self._parts, data), sha256)

    def _digest(self, data: bytearray) -> str:
        if self._sha256:
            self._sha256.update(data)
        return hashlib.sha256(data).hexdigest()

    async def _keep(self) -> None:
        """Keeps what has come of a piece that ended early, unless it would have to agree with a checksum."""
        if self._checksum:
            return
        transfer = self._transfer
        try:
            await self._services.queue.transfers.take(transfer.id, transfer.owner, "close", holder=transfer.fence)
            await self._end()
        except (StorageError, QueueUnavailableError, FencedError, ProblemError) as error:
            log.info("%s: the end of a piece that was cut off is lost: %r", self._transfer.id, error)

    async def _end(self) -> None:
        await self._sent()
        if self.offset == self._transfer.length:
            await self._complete()
        elif self._fresh:
            await self._put_piece()
        else:
            await self._commit(self.offset, is_last=True)

    async def _complete(self) -> None:
        """Stores what is left as the last part. There may be nothing: then the length became known late."""
        if self._format is None:
            self._judge()
        if self._fresh or self._tail:
            await self._send_part(self._fresh, self.offset, is_complete=True)
        else:
            await self._commit(self.offset, is_complete=True, is_last=True)

    async def _put_piece(self) -> None:
        """Adds to the tail. Its objects shrink by half or more from one to the next, so that they are few, and none is
        read and stored again by each of many small pieces.
        """
        tail, data = list(self._tail), self._fresh
        while tail and tail[-1].size <= len(data):
            merged = tail.pop()
            data = await self._read([merged]) + data
            self._obsolete.append(merged)
        piece = await asyncio.to_thread(Piece.of, self._transfer.fence, self.offset - len(data), data)
        self._stored.append(piece)
        key = piece.key(self._transfer.original)
        await self._services.storage.put(key, data, _PIECE_TYPE, owner=self._transfer.owner)
        self._tail = (*tail, piece)
        await self._commit(self.offset, is_last=True)

    async def _commit(self, offset: int, *, is_complete: bool = False, is_last: bool = False) -> None:
        parts, self._uncounted = self._uncounted, []
        await self._services.queue.transfers.commit(
            self._transfer,
            offset,
            tail=self._tail,
            parts=parts,
            is_complete=is_complete,
            is_last=is_last,
            format=self._format,
            multipart=self._multipart,
            sha256=self._sha256.hexdigest() if is_complete and self._sha256 else None,
        )
        obsolete, self._obsolete = self._obsolete, []
        await self._remove(obsolete)

    async def _leave(self) -> None:
        """Adds nothing any more, and removes what this writer has stored and does not count.

        What does, the queue knows: a call may have worked whose answer was lost.
        """
        if self._sending:
            self._sending.cancel()
            await asyncio.wait([self._sending])
        transfer = self._transfer
        try:
            now = await self._services.queue.transfers.take(transfer.id, transfer.owner, "fence", holder=transfer.fence)
        except QueueUnavailableError:
            return
        await self._remove(piece for piece in self._stored if now is None or piece not in now.tail)
        if self._begun and (now is None or now.multipart != self._begun):
            with suppress(StorageError):
                await self._upload.abort(self._begun)

    async def _read(self, tail: Iterable[Piece]) -> bytearray:
        data = bytearray()
        for piece in tail:
            content = bytearray()
            async with self._services.storage.read(piece.key(self._transfer.original)) as found:
                if found:
                    async for chunk in found[1]:
                        content += chunk
            if not await asyncio.to_thread(piece.is_of, content):
                raise StorageError
            data += content
        return data

    async def _remove(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            with suppress(StorageError):  # the sweeper removes it later
                await self._services.storage.remove(piece.key(self._transfer.original))
