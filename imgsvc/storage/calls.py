"""The deadline and the errors of a call to S3. All calls go through here, so all failures become StorageError here."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from imgsvc.runtime.metrics import Dependency
from imgsvc.storage.body import extend_while_sent
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
        """Wraps a call, or a part of one (then not `timed`). Reading from its answer belongs inside it too.

        The deadline limits silence: while S3 takes more of a large body, it is extended.

        Raises:
            StorageError: for any failure; `__cause__` is the original exception.
        """
        missing: MissingError | None = None
        with self._health.call(StorageError, timed=timed):
            try:
                async with asyncio.timeout(self._timeout_s) as deadline:
                    extend_while_sent(deadline, self._timeout_s)
                    yield
            except StorageError:
                raise
            except Exception as error:
                failure = translate(error, self.place)
                if not isinstance(failure, MissingError):
                    self._log(failure, error)
                    raise failure from error
                failure.__cause__, missing = error, failure  # a normal answer: S3 is available
            else:
                self._reason = None
        if missing:
            raise missing

    def _log(self, failure: StorageError, error: Exception) -> None:
        """Logs what an operator must act on, once until it changes."""
        if not is_expected(error) and type(error) not in self._unexpected:
            self._unexpected.add(type(error))
            log.error("unexpected failure of the S3 client; logged once", exc_info=error)
        if failure.reason and failure.reason != self._reason:
            log.warning("S3: %s", failure.reason)
            self._reason = failure.reason
