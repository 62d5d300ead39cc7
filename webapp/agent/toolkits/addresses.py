"""Which addresses belong to the public Internet, however they are written; opens no connection."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Addresses that are translated to the IPv4 address in their last four bytes (RFC 6052, RFC 4291).
_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
# Translated within one network alone (RFC 8215).
_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")


def is_public(text: str) -> bool:
    """Whether anybody on the Internet could be reached at this address.

    Private, loopback, link-local (cloud metadata among them), shared, reserved and multicast
    addresses are not, nor is an IPv6 address that holds such an IPv4 address.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return all(map(_is_global, (address, *_within(address))))


def _is_global(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped or any(address in network for network in _TRANSLATED):
            return address > ipaddress.IPv6Address(1)  # the address within is looked at by itself
        if address in _LOCAL or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _within(address: Address) -> Iterator[Address]:
    """The IPv4 addresses that an IPv6 address holds."""
    if not isinstance(address, ipaddress.IPv6Address):
        return
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if any(address in network for network in _TRANSLATED):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
