"""Where uploads and their files are asked for: below the service's base path, and signed where files are signed."""

from dataclasses import dataclass
from time import time
from urllib.parse import quote

from imgsvc.settings import Settings
from imgsvc.signing import sign


@dataclass(frozen=True, slots=True)
class Link:
    """Makes the path of a stored file from its key, or of an upload from its id, as its client must ask for it.

    `secret` None leaves files public; signed ones are good for `ttl_s` seconds at most.
    """

    base_path: str
    secret: bytes | None
    ttl_s: int

    def __call__(self, key: str) -> str:
        path = self.base_path + quote(file_path(key))
        if self.secret is None:
            return path
        exp = expiry(time(), self.ttl_s)
        return f"{path}?exp={exp}&sig={sign(file_path(key), exp, self.secret)}"

    def upload(self, upload_id: str) -> str:
        return f"{self.base_path}/upload/{upload_id}"


def link_of(settings: Settings) -> Link:
    return Link(settings.base_path, settings.file_secret, settings.signed_url_ttl)


def file_path(key: str) -> str:
    """The path of a stored file, as it stands decoded in its URL behind the base path. This is what is signed."""
    return f"/files/{key}"


def expiry(now_s: float, ttl_s: int) -> int:
    """When a URL signed now ends: within `ttl_s`, and not before half of it has passed.

    The same for half of `ttl_s` at a time, so that a file keeps its URL and is found in caches meanwhile.
    """
    step = ttl_s // 2
    return int(now_s) // step * step + ttl_s
