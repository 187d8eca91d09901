"""What the value of a setting must be. Each check returns it, or raises ValueError with what to write instead."""

import base64
import ipaddress
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from imgsvc.domain.addresses import parse_destinations
from imgsvc.runtime.api_keys import parse_hosts, parse_keys, parse_origins, parse_proxies

MIN_SECRET_CHARS = 32

_BASE_PATH = re.compile(r"(?:/[A-Za-z0-9_-][A-Za-z0-9._~-]*)+")  # no . or .. among its parts


def _readable_by(parse: Callable[[str], object]) -> Callable[[str], str]:
    def check(value: str) -> str:
        parse(value)
        return value

    return check


destinations = _readable_by(parse_destinations)
hosts = _readable_by(parse_hosts)
origins = _readable_by(parse_origins)
proxies = _readable_by(parse_proxies)


def redis_url(value: str) -> str:
    parts = urlsplit(value)
    try:
        port = parts.port
    except ValueError:  # Python's message has a piece of the password in it, where that is not escaped
        raise ValueError("its port is none; write / ? # @ : in a password as %2F %3F %23 %40 %3A") from None
    if parts.scheme not in {"redis", "rediss", "unix"} or port == 0:
        raise ValueError("must look like redis://[[user]:password@]host:6379/0, rediss://… or unix://…")
    return value


def http_url(value: str | None) -> str | None:
    if value is not None:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
            raise ValueError("must look like http://host:port")
    return value


def header(value: SecretStr | None) -> SecretStr | None:
    """Checks a secret that is sent in a header."""
    if value is not None and not value.get_secret_value().isprintable():
        raise ValueError("must be one line of printable characters")
    return value


def proxy_url(value: SecretStr | None) -> SecretStr | None:
    """Checks the URL of an HTTP proxy, which may contain a password."""
    if value is not None:
        try:
            http_url(value.get_secret_value())
        except ValueError:  # Python's own message may quote a part of the password
            raise ValueError(
                "must look like http://[user:password@]host:3128; write / ? # @ : in a password as %2F %3F %23 %40 %3A"
            ) from None
    return value


def gate_url(value: str | None) -> str | None:
    if value is not None:
        try:
            http_url(value)
        except ValueError:
            raise ValueError("must look like https://example.com/gate") from None
    return value


def base_path(value: str) -> str:
    if value and not _BASE_PATH.fullmatch(value):
        raise ValueError("must look like /images or /media/images: from / on, without / at its end, plain characters")
    return value


def webhook_secrets(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        webhook_keys(value)
    return value


def webhook_keys(secrets: SecretStr) -> tuple[bytes, ...]:
    """Reads secrets separated by commas."""
    keys = tuple(webhook_key(SecretStr(entry.strip())) for entry in secrets.get_secret_value().split(","))
    if len(set(keys)) < len(keys):
        raise ValueError("names a secret twice: name each of them once")
    return keys


def webhook_key(secret: SecretStr) -> bytes:
    prefix, _, text = secret.get_secret_value().partition("_")
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if prefix != "whsec" or not 24 <= len(key) <= 64:
        raise ValueError("must be whsec_ and then 24 to 64 random bytes in base64, as `openssl rand -base64 32` writes")
    return key


def signing_secrets(value: SecretStr | None) -> SecretStr | None:
    if value is not None and not all(len(secret) >= MIN_SECRET_CHARS for secret in split_secrets(value)):
        raise ValueError(
            f"must be {MIN_SECRET_CHARS} random characters or more, as `openssl rand -hex 32` writes, or several such "
            "secrets separated by commas"
        )
    return value


def split_secrets(value: SecretStr) -> tuple[bytes, ...]:
    return tuple(secret.strip().encode() for secret in value.get_secret_value().split(","))


def keys(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        parse_keys(value.get_secret_value())
    return value


def host(value: str) -> str:
    plain = value.removeprefix("[").removesuffix("]")
    try:
        mapped = ipaddress.IPv6Address(plain).ipv4_mapped
    except ValueError:
        return plain
    return str(mapped or plain)


def unix_socket(value: Path | None) -> Path | None:
    if value is not None and (length := len(os.fsencode(value))) > (limit := 107 if sys.platform == "linux" else 103):
        raise ValueError(f"its path has {length} bytes, and a socket's may have {limit}: choose a shorter one")
    return value


def url(host: str, port: int) -> str:
    # of a scope: RFC 6874
    return f"http://[{host.replace('%', '%25')}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
