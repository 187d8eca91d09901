"""The address of a client, also through a proxy that the operator trusts."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

from imgsvc.runtime.api_keys import UNIX_PEER, Proxies


def client_address(scope: Scope, proxies: Proxies) -> str:
    """The address that a request comes from.

    `X-Forwarded-For` is read from its end, where the nearest proxy wrote, and only as far as proxies are trusted:
    what stands before that may be forged.
    """
    peer = peer_address(scope.get("client"))
    if not proxies or peer not in proxies:
        return peer
    for hop in reversed(_hops(Headers(scope=scope).getlist("x-forwarded-for"))):
        address = _parse(hop)
        if address is None:
            break
        peer = str(address)
        if peer not in proxies:
            break
    return peer


def peer_address(client: tuple[str, int] | None) -> str:
    """The address at the other end of the connection itself."""
    address = _parse(client[0]) if client else None
    return str(address) if address else UNIX_PEER


def client_network(address: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 that an IPv6 host chooses its addresses from."""
    parsed = _parse(address)
    if not isinstance(parsed, IPv6Address):
        return address
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"


def _hops(lines: Iterable[str]) -> list[str]:
    return [hop.strip() for line in lines for hop in line.split(",") if hop.strip()]


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """An address as proxies write it: with a port or without, an IPv6 one in brackets or not."""
    host = text.partition("]")[0][1:] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
