"""Fetching a medium from the web without being led into one's own network.

A name is looked up once, every address it has must be public, and the connection goes to the address that was checked,
so that a second answer of the DNS cannot change it. Each redirect is checked in the same way. Proxies from the environment are
not used.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from urllib.parse import SplitResult, urljoin, urlsplit

from encoders.media import MediaError

REDIRECTS = 3
SECONDS = 20.0  # for all of it
CHUNK = 2**16
NAT64 = ipaddress.ip_network("64:ff9b::/96")


def fetch(url: str, most: int) -> bytes:
    """The bytes at an http or https address.

    Args:
        most: bytes, at most.

    Raises:
        MediaError: an address that is not public, a server that fails, too many bytes, or too long a time.
    """
    deadline = time.monotonic() + SECONDS
    try:
        for _ in range(REDIRECTS + 1):
            response = _get(urlsplit(url), deadline)
            if response.status in (301, 302, 303, 307, 308):
                url = urljoin(url, response.getheader("Location", ""))
                response.close()
                continue
            if response.status != 200:
                raise MediaError(f"the server of the medium answered {response.status}", "missing")
            return _read(response, most, deadline)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"the medium could not be fetched ({type(error).__name__})", "missing") from error
    raise MediaError(f"more than {REDIRECTS} redirects", "missing")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, IPv4 addresses inside IPv6 ones included."""
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = inner or ip
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


def _get(url: SplitResult, deadline: float) -> http.client.HTTPResponse:
    if url.scheme not in ("http", "https") or not url.hostname or url.username is not None:
        raise MediaError("a medium's URL must be data:, or http(s)://HOST/… without a user's name")
    port = url.port or (443 if url.scheme == "https" else 80)
    found = socket.getaddrinfo(url.hostname, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(map(is_public, addresses)):
        raise MediaError("the medium's URL leads to a private address; only public ones are fetched")
    family, kind, protocol, _, where = found[0]
    plain = socket.socket(family, kind, protocol)
    connection = http.client.HTTPConnection(url.hostname, port, timeout=_left(deadline))
    try:
        plain.settimeout(_left(deadline))
        plain.connect(where)
        connection.sock = plain
        if url.scheme == "https":
            connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=url.hostname)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.request("GET", target, headers={"User-Agent": "anygpt", "Connection": "close"})
        return connection.getresponse()
    except BaseException:
        plain.close()
        raise


def _read(response: http.client.HTTPResponse, most: int, deadline: float) -> bytes:
    with response:
        data = bytearray()
        while chunk := response.read1(CHUNK):
            data += chunk
            if len(data) > most:
                raise MediaError(f"the medium has more than {most} bytes, the most", "wrong size")
            _left(deadline)
    return bytes(data)


def _left(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise MediaError(f"the medium was not there within {SECONDS:g} s", "missing")
    return seconds
