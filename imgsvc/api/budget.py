"""Back-pressure: what uploads under way may hold together in memory."""

from collections.abc import Generator
from contextlib import contextmanager

from imgsvc.api.errors import ProblemError


class Budget:
    """So many bytes, lent to uploads while they are received."""

    def __init__(self, bytes_: int) -> None:
        self._left = bytes_

    @contextmanager
    def lend(self, bytes_: int) -> Generator[None]:
        """Raises ProblemError overloaded where there is not as much left."""
        if bytes_ > self._left:
            raise overloaded("Too many uploads are under way. Try again shortly.")
        self._left -= bytes_
        try:
            yield
        finally:
            self._left += bytes_


def overloaded(detail: str) -> ProblemError:
    return ProblemError("overloaded", detail)
