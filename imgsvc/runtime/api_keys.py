"""Who may call the API, as an operator writes it down: keys with the names of their owners, hosts, origins, proxies.

Each parser raises ValueError with what is wrong and what to write instead; none repeats a key.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

_NAME = re.compile(r"[a-z0-9_-]{1,40}")
_KEY = re.compile(r"[A-Za-z0-9._~+/-]{16,}=*")  # what a Bearer token may be (RFC 6750), and no shorter
_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
_ORIGIN = re.compile(r"https?://(?:[a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?")

ANY_HOST = "*"
UNIX_PEER = "unix"
"""Stands for whoever comes by a Unix socket, where there are no addresses."""

_KEY_ID_CHARS = 8


@dataclass(frozen=True, slots=True)
class Caller:
    """Who called, and with which key: `key_id` is the beginning of its SHA-256 in hexadecimal."""

    owner: str
    key_id: str


@dataclass(frozen=True, slots=True)
class Keys:
    """API keys as pairs of an owner's name and the key's SHA-256. An owner may have several, so that they can be
    replaced one by one.
    """

    hashes: tuple[tuple[str, bytes], ...]

    def caller(self, key: str) -> Caller | None:
        """The owner of this key. Every wrong key takes the same time, however near it comes."""
        given, found = _hash(key), None
        for caller, (_, known) in zip(self.callers, self.hashes, strict=True):
            if hmac.compare_digest(given, known):
                found = caller
        return found

    @property
    def callers(self) -> list[Caller]:
        """One a key."""
        return [Caller(name, known.hex()[:_KEY_ID_CHARS]) for name, known in self.hashes]


def is_owner_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def parse_keys(text: str) -> Keys:
    """Reads `IMGSVC_API_KEYS`: `shop:<key>, shop:<its next key>, blog:<key>`."""
    hashes: list[tuple[str, bytes]] = []
    for number, entry in enumerate(_entries(text), 1):
        name, colon, key = entry.partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise ValueError(f"entry {number} must be name:key, its name of 1 to 40 of a-z, 0-9, _ and -")
        if not _KEY.fullmatch(key):
            raise ValueError(f"the key of entry {number} must be 16 or more letters, digits or . _ ~ + / -")
        if any(known == _hash(key) for _, known in hashes):
            raise ValueError(f"the key of entry {number} is there twice: give each entry its own")
        hashes.append((name, _hash(key)))
    if not hashes:
        raise ValueError("must name at least one key, such as shop:<random characters>; unset it to have none")
    return Keys(tuple(hashes))


def first_key(text: str) -> str:
    """The first key of `IMGSVC_API_KEYS`, which `parse_keys` has accepted."""
    return _entries(text)[0].partition(":")[2]


def parse_hosts(text: str) -> frozenset[str]:
    """Reads `IMGSVC_ALLOWED_HOSTS`: names as a Host header has them, without port; `*` for all."""
    hosts = frozenset(_entries(text.lower()))
    for host in hosts - {ANY_HOST}:
        if not _HOST.fullmatch(host):
            raise ValueError(f"{host!r} must be a name such as images.example.com, without scheme or port, or *")
    return hosts


def parse_origins(text: str) -> frozenset[str]:
    """Reads `IMGSVC_CORS_ORIGINS`: origins as a browser sends them."""
    origins = frozenset(_entries(text))
    for origin in origins:
        if not is_origin(origin):
            raise ValueError(f"{origin!r} must be an origin such as https://app.example.com, each named by itself")
    return origins


def is_origin(text: str) -> bool:
    """Whether a browser may send this as the origin of a page."""
    return _ORIGIN.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Proxies:
    """Whom we believe what they forward: networks, and UNIX_PEER where `unix` is set."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    unix: bool = False

    def __bool__(self) -> bool:
        return self.unix or bool(self.networks)

    def __contains__(self, peer: str) -> bool:
        if peer == UNIX_PEER:
            return self.unix
        return bool(self.networks) and any(ip_address(peer) in network for network in self.networks)


def parse_proxies(text: str) -> Proxies:
    """Reads `IMGSVC_TRUSTED_PROXIES`: `10.0.0.5, 10.1.0.0/16, fd00::/8, unix`."""
    networks: list[IPv4Network | IPv6Network] = []
    entries = _entries(text.lower())
    for entry in entries:
        if entry != UNIX_PEER:
            try:
                networks.append(ip_network(entry))
            except ValueError as error:
                raise ValueError(f"{entry!r} must be an address, a network such as 10.0.0.0/8, or unix") from error
    return Proxies(tuple(networks), UNIX_PEER in entries)


def _entries(text: str) -> list[str]:
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
