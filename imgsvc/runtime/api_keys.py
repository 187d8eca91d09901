"""Who may call the API, as an operator writes it down: keys with the names of their owners, hosts, origins, proxies.

Each parser raises ValueError with what is wrong and what to write instead; none repeats a key.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Self

NAME = re.compile(r"[a-z0-9_-]{1,40}")
KEY = re.compile(r"[A-Za-z0-9._~+/-]{16,}=*")  # what a Bearer token may be (RFC 6750), and no shorter
NAME_RULE = "1 to 40 of a-z, 0-9, _ and -"
KEY_RULE = "16 or more letters, digits or . _ ~ + / -"

_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
_ORIGIN = re.compile(r"https?://(?:[a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?")

ANY_HOST = "*"
UNIX_PEER = "unix"
"""Stands for whoever comes by a Unix socket, where there are no addresses."""

TOKEN_KEY_ID = "token"  # noqa: S105 (a name)
"""Stands for the key of a request that has an upload token."""

_KEY_ID_CHARS = 8


@dataclass(frozen=True, slots=True)
class Caller:
    """Who called, and with which key: `key_id` is the beginning of its SHA-256 in hexadecimal. One who is `admin` may
    see and act on all owners' uploads.
    """

    owner: str
    key_id: str
    admin: bool = False


@dataclass(frozen=True, slots=True)
class Keys:
    """API keys, by their SHA-256. An owner may have several, so that they can be replaced one by one."""

    _callers: Mapping[bytes, Caller] = field(default_factory=dict[bytes, Caller])
    _known: frozenset[Caller] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_token = {Caller(caller.owner, TOKEN_KEY_ID) for caller in self._callers.values()}
        object.__setattr__(self, "_known", by_token.union(self._callers.values()))

    @classmethod
    def of(cls, hashes: Mapping[bytes, str], admins: Collection[str] = ()) -> Self:
        """The keys with these SHA-256 and owners."""
        return cls({known: Caller(name, known.hex()[:_KEY_ID_CHARS], name in admins) for known, name in hashes.items()})

    def caller(self, key: str) -> Caller | None:
        """The owner of this key. What its time tells is about its SHA-256, which nobody can bring near another's."""
        return self._callers.get(key_hash(key))

    def let_in(self, caller: Caller) -> bool:
        """Whether one who was let in before still would be: the owner of a key that is known, or of an upload token."""
        return caller in self._known

    @property
    def callers(self) -> list[Caller]:
        """One a key."""
        return list(self._callers.values())


def is_owner_name(text: str) -> bool:
    return NAME.fullmatch(text) is not None


def parse_keys(text: str) -> dict[bytes, str]:
    """Reads `IMGSVC_API_KEYS`: `shop:<key>, shop:<its next key>, blog:<key>`. Returns owners by their keys' SHA-256."""
    hashes: dict[bytes, str] = {}
    for number, entry in enumerate(_entries(text), 1):
        name, colon, key = entry.partition(":")
        if not colon or not NAME.fullmatch(name):
            raise ValueError(f"entry {number} must be name:key, its name of {NAME_RULE}")
        if not KEY.fullmatch(key):
            raise ValueError(f"the key of entry {number} must be {KEY_RULE}")
        if key_hash(key) in hashes:
            raise ValueError(f"the key of entry {number} is there twice: give each entry its own")
        hashes[key_hash(key)] = name
    if not hashes:
        raise ValueError("must name at least one key, such as shop:<random characters>; unset it to have none")
    return hashes


def key_hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


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
