"""The checksum that comes with a piece: `Upload-Checksum: sha256 <base64>` (tus, checksum extension)."""

import base64
import hashlib
from typing import Self

from imgsvc.api.http.errors import ProblemError

ALGORITHMS = ("sha1", "sha256")


class Checksum:
    """What a piece must have, and what it has so far."""

    def __init__(self, algorithm: str, expected: bytes) -> None:
        self._hash = hashlib.new(algorithm, usedforsecurity=False)
        self._expected = expected
        self.update = self._hash.update

    @classmethod
    def of(cls, header: str | None) -> Self | None:
        """Returns the checksum of a header; None where there is none.

        Raises:
            ProblemError: the algorithm is not known, or the checksum is none of it.
        """
        if header is None:
            return None
        algorithm, _, text = header.strip().partition(" ")
        if algorithm in ALGORITHMS:
            try:
                expected = base64.b64decode(text.strip(), validate=True)
            except ValueError:
                expected = b""
            checksum = cls(algorithm, expected)
            if len(expected) == checksum._hash.digest_size:
                return checksum
        names = " or ".join(ALGORITHMS)
        raise ProblemError("malformed_request", f"Upload-Checksum must be {names}, a space, and the sum in base64.")

    @property
    def agrees(self) -> bool:
        return self._hash.digest() == self._expected
