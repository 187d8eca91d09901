"""The deadline and the errors of one exchange with S3. All calls go through here, so all failures become ours here."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from imgsvc.runtime.metrics import Dependency
from imgsvc.storage.body import put_off_while_sent
from imgsvc.storage.errors import MissingError, Place, StorageError, is_expected, translate

log = logging.getLogger(__name__)


class Calls:
    def __init__(self, place: Place, timeout_s: float, health: Dependency) -> None:
        self.place = place
        self._timeout_s = timeout_s
        self._health = health
        self._reason: str | None = None
        self._unexpected: set[type[Exception]] = set()

    @asynccontextmanager
    async def call(self, *, timed: bool = True) -> AsyncGenerator[None]:
        """One exchange, or a part of one, which is not `timed`. What is read from its answer belongs into it too.

        The deadline is one of silence: as long as S3 takes some of a large body, it is put off.

        Raises:
            StorageError: whatever goes wrong; `__cause__` is what did.
        """
        missing: MissingError | None = None
        with self._health.call(StorageError, timed=timed):
            try:
                async with asyncio.timeout(self._timeout_s) as deadline:
                    put_off_while_sent(deadline, self._timeout_s)
                    yield
            except StorageError:
                raise
            except Exception as error:
                failure = translate(error, self.place)
                if not isinstance(failure, MissingError):
                    self._note(failure, error)
                    raise failure from error
                failure.__cause__, missing = error, failure  # an answer like any other, from an S3 that is there
            else:
                self._reason = None
        if missing:
            raise missing

    def _note(self, failure: StorageError, error: Exception) -> None:
        """Logs what somebody must do something about, once until it changes."""
        if not is_expected(error) and type(error) not in self._unexpected:
            self._unexpected.add(type(error))
            log.error("the S3 client fails in a way that it should not; said once", exc_info=error)
        if failure.reason and failure.reason != self._reason:
            log.warning("S3: %s", failure.reason)
            self._reason = failure.reason
