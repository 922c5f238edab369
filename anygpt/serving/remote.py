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
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import SplitResult, urljoin, urlsplit

from encoders.media import MediaError

REDIRECTS = 3
SECONDS = 20.0  # for all of it
CHUNK = 2**16
NAT64 = ipaddress.ip_network("64:ff9b::/96")


def fetch(url: str, most: int, deadline: float) -> bytes:
    """The bytes at an http or https address.

    Args:
        most: bytes, at most.
        deadline: by `time.monotonic()`, where it comes before `SECONDS` have passed.

    Raises:
        MediaError: an address that is not public, a server that fails, too many bytes, or too long a time.
    """
    deadline = min(deadline, time.monotonic() + SECONDS)
    try:
        for _ in range(REDIRECTS + 1):
            with _get(urlsplit(url), deadline) as response:
                if response.status in (301, 302, 303, 307, 308):
                    url = urljoin(url, response.getheader("Location", ""))
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


@contextmanager
def _get(url: SplitResult, deadline: float) -> Iterator[http.client.HTTPResponse]:
    if url.scheme not in ("http", "https") or not url.hostname or url.username is not None:
        raise MediaError("a medium's URL must be data:, or http(s)://HOST/… without a user's name")
    port = url.port or (443 if url.scheme == "https" else 80)
    found = socket.getaddrinfo(url.hostname, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(map(is_public, addresses)):
        raise MediaError("the medium's URL leads to a private address; only public ones are fetched")
    family, kind, protocol, _, where = found[0]
    with socket.socket(family, kind, protocol) as plain:
        plain.settimeout(_left(deadline))
        plain.connect(where)
        connection = http.client.HTTPConnection(url.hostname, port)
        connection.sock = plain
        if url.scheme == "https":
            connection.sock = ssl.create_default_context().wrap_socket(
                plain, server_hostname=url.hostname, do_handshake_on_connect=False
            )
        with connection.sock as link, _hanging_up(link, deadline):
            if isinstance(link, ssl.SSLSocket):
                link.do_handshake()
            target = (url.path or "/") + (f"?{url.query}" if url.query else "")
            connection.request("GET", target, headers={"User-Agent": "anygpt", "Connection": "close"})
            with connection.getresponse() as response:
                yield response


@contextmanager
def _hanging_up(link: socket.socket, deadline: float) -> Iterator[None]:
    """Hang up at the deadline: a server that sends a byte now and then runs into no socket's timeout."""

    def hang_up() -> None:
        with suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)

    clock = threading.Timer(_left(deadline), hang_up)
    clock.daemon = True
    clock.start()
    try:
        yield
    except (OSError, http.client.HTTPException):
        _left(deadline)
        raise
    finally:
        clock.cancel()


def _read(response: http.client.HTTPResponse, most: int, deadline: float) -> bytes:
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
        raise MediaError("the medium took too long to come", "missing")
    return seconds
