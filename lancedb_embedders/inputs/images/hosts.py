"""Which addresses pictures may be fetched from: those of the public internet, and named ones."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from lancedb_embedders.http_rules import named

# IANA's registries of special-purpose addresses, spelled out because what `is_global` says
# depends on the patch version of Python.
_SPECIAL = [
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by a carrier's customers
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, where clouds serve credentials
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved and broadcast
        "2001::/23",  # Teredo among others, which tunnels to an IPv4 address
        "2001:db8::/32",
        "3fff::/20",
    )
]
_GLOBAL_UNICAST = ip_network("2000::/3")  # all other IPv6 is local, multicast or not assigned
_NAT64 = ip_network("64:ff9b::/96")


def is_allowed(address: str, host: str, hosts: Iterable[str]) -> bool:
    """Tell whether a host may be connected to at an address that its name stands for.

    Parameters
    ----------
    address : str
        The numeric address, of IPv4 or IPv6.
    host : str
        The name that was asked for, or an address again.
    hosts : iterable of str
        What is allowed though it is not public: names of hosts, ``".example.com"`` for all below
        one, addresses, and networks like ``"10.0.0.0/8"``. Anything else allows nothing.

    Examples
    --------
    >>> is_allowed("8.8.8.8", "dns.google", [])
    True
    >>> is_allowed("::ffff:127.0.0.1", "innocent.example.com", [])
    False
    >>> is_allowed("10.1.2.3", "pictures.internal", [".internal"])
    True
    """
    numeric = ip_address(address)
    return _is_public(numeric) or any(_names(entry.strip(), numeric, host) for entry in hosts)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        embedded = _embedded(address)
        if embedded is not None:
            return _is_public(embedded)
        if address not in _GLOBAL_UNICAST:
            return False
    return not any(address in network for network in _SPECIAL)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the address of IPv4 where packets to a public form of `address` end up."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _names(entry: str, address: IPv4Address | IPv6Address, host: str) -> bool:
    try:
        network = ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return _names_host(entry, host)
    plain = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address in network or (plain is not None and plain in network)


def _names_host(entry: str, host: str) -> bool:
    dot = "." if entry.startswith(".") else ""
    name = _as_asked(entry.removeprefix("."))
    return bool(dot or name) and named(_as_asked(host), [dot + name])


def _as_asked(name: str) -> str:
    """Return a name as resolvers are asked for it, or as it is where none could be."""
    name = name.lower().rstrip(".")
    if name.isascii():
        return name
    import idna

    try:
        return idna.encode(name, uts46=True).decode()
    except idna.IDNAError:
        return name
