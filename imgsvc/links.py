"""Where processed files are fetched: plain paths while files are public, signed ones that are good for a while else."""

from collections.abc import Callable
from time import time
from urllib.parse import quote

from imgsvc.settings import Settings
from imgsvc.signing import sign

Link = Callable[[str], str]
"""Makes the URL of a stored file from its key."""


def file_path(key: str) -> str:
    """The path of a stored file, as it stands decoded in its URL. This is what is signed."""
    return f"/files/{key}"


def plain(key: str) -> str:
    return quote(file_path(key))


def link_of(settings: Settings) -> Link:
    secret = settings.file_secret
    if secret is None:
        return plain

    def signed(key: str) -> str:
        exp = expiry(time(), settings.signed_url_ttl)
        return f"{plain(key)}?exp={exp}&sig={sign(file_path(key), exp, secret)}"

    return signed


def expiry(now_s: float, ttl_s: int) -> int:
    """When a URL signed now ends: within `ttl_s`, and not before half of it has passed.

    The same for half of `ttl_s` at a time, so that a file keeps its URL and is found in caches meanwhile.
    """
    step = ttl_s // 2
    return int(now_s) // step * step + ttl_s
