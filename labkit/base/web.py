"""A table behind an address: fetched over HTTPS from the open internet, with a bound on size and time.

A name is resolved once, every address it has is checked, and the connection goes to the address that was checked, so
that nothing else can be put in its place meanwhile. Redirects go the same way. Proxies are not used.
"""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
import tempfile
import time
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urljoin, urlsplit

from labkit.base.cache import cache_dir, fingerprint
from labkit.base.errors import DataError, SampleError
from labkit.base.guard import offline, public_address

MOST = 2 << 30  # bytes
PATIENCE = 600.0  # seconds for all of it
REDIRECTS = 5
_MOVED = (301, 302, 303, 307, 308)


def fetched(address: str, most: int = MOST, patience: float = PATIENCE) -> Path:
    """The file behind an address, in the cache, under the name it has there. It is fetched every time.

    Raises:
        DataError: the address is not HTTPS, or leads to this machine or a private network.
        SampleError: it cannot be reached, answers with an error, or is larger or slower than it may be.
    """
    if offline():
        raise SampleError(f"LABKIT_OFFLINE forbids the network, so {address[:200]!r} cannot be fetched.")
    until = time.monotonic() + patience
    where = address
    for _ in range(REDIRECTS + 1):
        connection, path = _connected(where, until)
        try:
            connection.request("GET", path, headers={"User-Agent": "labkit", "Accept-Encoding": "identity"})
            answer = connection.getresponse()
            if answer.status in _MOVED and (onward := answer.getheader("Location")):
                where = urljoin(where, onward)
                continue
            if answer.status != 200:
                raise SampleError(f"{where[:200]} answers {answer.status} {answer.reason[:80]}.")
            return _kept(answer, where, most, until)
        except (OSError, http.client.HTTPException) as error:
            raise SampleError(f"{where[:200]} cannot be fetched: {error}.") from error
        finally:
            connection.close()
    raise SampleError(f"{address[:200]} is redirected more than {REDIRECTS} times.")


def _connected(address: str, until: float) -> tuple[http.client.HTTPSConnection, str]:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port or 443
    except ValueError:
        host, parts, port = None, None, 0
    if parts is None or parts.scheme != "https" or not host or parts.username or re.search(r"[\x00-\x20\x7f]", address):
        raise DataError(f"{address[:200]!r}: only addresses of the form https://host/file are read.")
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError) as error:
        raise SampleError(f"the host {host[:100]!r} is not found: {error}.") from error
    if private := sorted(ip for ip in found if not public_address(ip)):
        raise DataError(
            f"{address[:200]!r} leads to {private[0]}, which is this machine or a private network; only the open "
            "internet is read. Download the file yourself and give its path."
        )
    connection = _Pinned(host, port, timeout=max(1.0, min(30.0, until - time.monotonic())))
    connection.pinned = sorted(found)[0]
    path = parts.path or "/"
    return connection, f"{path}?{parts.query}" if parts.query else path


class _Pinned(http.client.HTTPSConnection):
    """A connection to the address that was checked; the certificate is still that of the name."""

    pinned = ""

    def connect(self) -> None:
        raw = socket.create_connection((self.pinned, self.port), self.timeout)
        self.sock = ssl.create_default_context().wrap_socket(raw, server_hostname=self.host)


def _kept(answer: http.client.HTTPResponse, where: str, most: int, until: float) -> Path:
    name = PurePosixPath(unquote(urlsplit(where).path)).name
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".")[-80:] or "table.csv"
    place = cache_dir("web", fingerprint(where)[:16]) / safe
    handle, part = tempfile.mkstemp(dir=place.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            while block := answer.read1(1 << 20):
                file.write(block)
                if file.tell() > most:
                    raise SampleError(f"{where[:200]} is larger than {most:,} bytes.")
                if time.monotonic() > until:
                    raise SampleError(f"{where[:200]} takes longer than it may.")
        os.replace(part, place)
    finally:
        Path(part).unlink(missing_ok=True)
    return place
