"""Read the IP address on which a server listens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

__all__ = ["ip_address_of"]


def ip_address_of(text: str) -> IPv4Address | IPv6Address:
    """Return the address that `--address` gives; IPv6 may stand in brackets.

    Raises:
        UsageError: it is no IP address.
    """
    import ipaddress

    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        raise click.UsageError(f"--address takes an IP address, such as 127.0.0.1 or ::1, not {text!a}") from None
