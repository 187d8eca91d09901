"""Resolves the hosts that clients name, and recognises the addresses of this machine itself."""

import errno
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

from imgsvc.domain.addresses import unwrapped

_UNASSIGNED = {socket.AF_INET: "240.0.0.1", socket.AF_INET6: "100::1"}  # reserved: no machine has these addresses


class PinnedResolver(AbstractResolver):
    """Resolves any name to the addresses that have been checked, without a look-up."""

    def __init__(self, addresses: Sequence[ResolveResult]) -> None:
        self._addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_UNSPEC) -> list[ResolveResult]:
        return list(self._addresses)

    async def close(self) -> None:
        """Does nothing: there is nothing to release."""


def look_up(host: str, port: int) -> list[ResolveResult]:
    """Resolves a host. Blocks.

    Raises:
        OSError, UnicodeError: the name cannot be resolved, or is no name.
    """
    return [
        ResolveResult(hostname=host, host=str(address[0]), port=port, family=family, proto=proto, flags=0)
        for family, _, proto, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    ]


def is_own(address: str) -> bool:
    """Returns whether an address leads to this machine itself. Sends nothing.

    An address that a socket can be bound to is this machine's own. Where any address can be bound (Linux's
    ip_nonlocal_bind), it is its own if the system would choose the same address as the source. The source alone is not
    enough: for a second address of a subnet it is the first one.

    Raises:
        OSError: there are no sockets left.
    """
    ip = unwrapped(ip_address(address))
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        if _can_bind(family, str(ip)) and not _can_bind(family, _UNASSIGNED[family]):
            return True
        source = _source(family, str(ip))
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:  # a system without IPv6, where names still have such addresses
            return False
        raise
    return source is not None and (source == ip or source.is_loopback)


def _can_bind(family: socket.AddressFamily, address: str) -> bool:
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:  # another machine's address, or binding is forbidden
            return False
    return True


def _source(family: socket.AddressFamily, address: str) -> IPv4Address | IPv6Address | None:
    """Returns the source address of packets to `address`, or None without a route. Connecting UDP sends nothing."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))
        except OSError:
            return None
        return ip_address(probe.getsockname()[0])
