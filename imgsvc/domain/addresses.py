"""Which addresses may be connected to when a client has named them. Nothing is resolved here.

Public are the addresses that the internet routes to other machines: not loopback, private, link-local, shared, reserved
or multicast ones, nor any of these inside an IPv6 address. The others are allowed only where an operator names them.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL_BYTES = 2048

_GLOBAL_UNICAST = ip_network("2000::/3")
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052: how an IPv6-only network reaches IPv4
# global by the registries' tables, and yet never another machine on the internet
_NOT_PUBLIC = (
    ip_network("192.0.0.0/24"),  # IETF protocol assignments; Oracle's metadata service is among them
    ip_network("168.63.129.16/32"),  # Azure's host, from inside
    ip_network("192.88.99.0/24"),  # relays of 6to4, deprecated
    ip_network("3fff::/20"),  # documentation, since RFC 9637
    ip_network("2001::/23"),  # Teredo and other tunnels, benchmarks
    ip_network("2002::/16"),  # 6to4: any IPv4 address, through a relay
)
_HOST_AND_PORT = re.compile(r"(\[[^\]]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Destination:
    """An entry of an operator's allow or deny list: a host name or a network, and a port or None for any."""

    host: str | Network
    port: int | None = None

    def covers(self, host: str, address: Address, port: int) -> bool:
        matches = host == self.host if isinstance(self.host, str) else address in self.host
        return matches and self.port in {None, port}


def parse_destinations(text: str) -> tuple[Destination, ...]:
    """Parses `IMGSVC_OUTBOUND_ALLOW` or `_DENY`: `hooks, hooks:8080, 10.0.0.5, 10.1.0.0/16, [fd00::1]:8080`.

    Raises:
        ValueError: names the entry that is none of these.
    """
    return tuple(_parse_entry(entry) for entry in text.lower().replace(" ", "").split(",") if entry)


def covered(host: str, address: str, port: int, entries: tuple[Destination, ...]) -> bool:
    """Returns whether an entry matches `host`, which resolves to `address`."""
    ip = ip_address(address)
    name = host.lower().removesuffix(".")
    return any(entry.covers(name, form, port) for entry in entries for form in (ip, unwrapped(ip)))


def may_reach(host: str, address: str, port: int, allowed: tuple[Destination, ...]) -> bool:
    """Returns whether `host`, which resolves to `address`, may be connected to."""
    return is_public(ip_address(address)) or covered(host, address, port, allowed)


def is_public(address: Address) -> bool:
    ip = unwrapped(address)
    if any(ip in network for network in _NOT_PUBLIC) or not ip.is_global or ip.is_multicast:
        return False
    return ip in _GLOBAL_UNICAST if isinstance(ip, IPv6Address) else not ip.is_reserved


def unwrapped(address: Address) -> Address:
    """Returns the IPv4 address inside an IPv6 address (NAT64, IPv4-mapped), or else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address


def _parse_entry(entry: str) -> Destination:
    if network := _network(entry):
        return Destination(network)
    parts = _HOST_AND_PORT.fullmatch(entry)
    port = int(parts[2]) if parts and parts[2] else None
    if parts and (port is None or 1 <= port <= 65535):
        if network := _network(parts[1].strip("[]")):
            return Destination(network, port)
        if _HOST.fullmatch(parts[1]):
            return Destination(parts[1], port)
    raise ValueError(f"{entry!r} is no host, host:port or network such as 10.0.0.0/8")


def _network(text: str) -> Network | None:
    try:
        return ip_network(text)
    except ValueError:
        return None
