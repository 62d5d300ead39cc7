"""Groups client addresses for counting failures; nothing is counted here."""

from __future__ import annotations

import ipaddress
import re

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_WITH_PORT = re.compile(r"\[(?P<six>[^\]]+)\](?::\d+)?|(?P<four>[\d.]+):\d+", re.ASCII)


def address_group(address: str) -> str:
    """The address as limits should count it: one household has a whole /64 of IPv6.

    An IPv4-mapped IPv6 address counts as its IPv4 address; the port that some proxies write behind
    an address is left out.
    """
    bare = _WITH_PORT.fullmatch(address)
    text = (bare["six"] or bare["four"]) if bare else address
    try:
        parsed = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    if parsed in _NAT64:
        return str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
    return str(ipaddress.ip_network((parsed, 64), strict=False))
