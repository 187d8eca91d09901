"""What S3 calls its things, checked before a client is made of them: endpoints, buckets, regions, prefixes of keys.

Each function returns what it was given, in its normal form, or raises a ValueError that describes the allowed form.
"""

import ipaddress
import re
from urllib.parse import urlsplit

MAX_PREFIX = 200
"""S3's keys have 1 024 bytes, of which an upload's own part takes 300."""

_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")  # AWS takes lower case alone, older servers more
_PREFIX_PART = re.compile(r"[A-Za-z0-9_.-]+")


def endpoint_url(value: str | None) -> str | None:
    if value is None:
        return None
    url = urlsplit(value)
    if url.scheme not in {"http", "https"} or not url.hostname or url.port == 0:
        raise ValueError("must look like http://host:9000")
    if url.username is not None or url.query or url.fragment:
        raise ValueError("must look like http://host:9000, without a user, a query or a fragment")
    if not _is_host(url.hostname):
        raise ValueError(f"{url.hostname} is no host name: its parts are letters, digits and inner hyphens")
    return value.rstrip("/")


def bucket_name(value: str) -> str:
    if not _BUCKET.fullmatch(value):
        raise ValueError("must be letters, digits, dots and hyphens, 3 to 63 of them")
    return value


def region_name(value: str) -> str:
    if not _LABEL.fullmatch(value):
        raise ValueError("must be letters, digits and inner hyphens, such as eu-central-1")
    return value


def key_prefix(value: str) -> str:
    """Ends with one slash, unless it is empty."""
    if not value:
        return value
    parts = value.removesuffix("/").split("/")
    if len(value) > MAX_PREFIX or any(not _PREFIX_PART.fullmatch(part) or not part.strip(".") for part in parts):
        raise ValueError(
            "must look like team/imgsvc: letters, digits, - _ . between single slashes, none in front, "
            f"{MAX_PREFIX} characters at most"
        )
    return "/".join(parts) + "/"


def _is_host(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return all(_LABEL.fullmatch(part) for part in name.removesuffix(".").split("."))
    return True
