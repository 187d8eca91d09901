"""Which addresses may be connected to when a client has named them. Judgement alone: nothing is resolved here.

Public are those that the internet routes to somebody else than us: no loopback, private, link-local, shared, reserved
or multicast address, and none of these inside an IPv6 address. The others only where an operator allows them.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL_BYTES = 2048

_GLOBAL_UNICAST = ip_network("2000::/3")
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052: what an IPv6-only network reaches IPv4 by
# routable by their number, and all the same never somebody else's
_NOT_PUBLIC = (
    ip_network("192.0.0.0/24"),  # IETF protocol assignments; Oracle's metadata service is among them
    ip_network("168.63.129.16/32"),  # Azure's host, from inside
    ip_network("192.88.99.0/24"),  # relays of 6to4, given up
    ip_network("3fff::/20"),  # documentation, since RFC 9637
    ip_network("2001::/23"),  # Teredo and other tunnels, benchmarks
    ip_network("2002::/16"),  # 6to4: any IPv4 address, by way of a relay
)
_HOST_AND_PORT = re.compile(r"(\[[^\]]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Allowed:
    """A destination that an operator allows though it is private: a host's name or a network, any port or one."""

    where: str | Network
    port: int | None = None

    def covers(self, host: str, address: Address, port: int) -> bool:
        is_there = host == self.where if isinstance(self.where, str) else address in self.where
        return is_there and self.port in {None, port}


def parse_allowed(text: str) -> tuple[Allowed, ...]:
    """Reads `IMGSVC_OUTBOUND_ALLOW`: `hooks, hooks:8080, 10.0.0.5, 10.1.0.0/16, [fd00::1]:8080`.

    Raises:
        ValueError: names the entry that is none of these.
    """
    return tuple(_parse_entry(entry) for entry in text.lower().replace(" ", "").split(",") if entry)


def covered(host: str, address: str, port: int, entries: tuple[Allowed, ...]) -> bool:
    """Whether one of an operator's entries means `host`, which resolves to `address`."""
    ip = ip_address(address)
    name = host.lower().removesuffix(".")
    return any(entry.covers(name, form, port) for entry in entries for form in (ip, unwrapped(ip)))


def may_reach(host: str, address: str, port: int, allowed: tuple[Allowed, ...]) -> bool:
    """Whether `host`, which resolves to `address`, may be connected to."""
    return is_public(ip_address(address)) or covered(host, address, port, allowed)


def is_public(address: Address) -> bool:
    ip = unwrapped(address)
    if any(ip in network for network in _NOT_PUBLIC) or not ip.is_global or ip.is_multicast:
        return False
    return ip in _GLOBAL_UNICAST if isinstance(ip, IPv6Address) else not ip.is_reserved


def unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address only carries to where it is used, or else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address


def _parse_entry(entry: str) -> Allowed:
    if network := _network(entry):
        return Allowed(network)
    parts = _HOST_AND_PORT.fullmatch(entry)
    port = int(parts[2]) if parts and parts[2] else None
    if parts and (port is None or 1 <= port <= 65535):
        if network := _network(parts[1].strip("[]")):
            return Allowed(network, port)
        if _HOST.fullmatch(parts[1]):
            return Allowed(parts[1], port)
    raise ValueError(f"{entry!r} is no host, host:port or network such as 10.0.0.0/8")


def _network(text: str) -> Network | None:
    try:
        return ip_network(text)
    except ValueError:
        return None
