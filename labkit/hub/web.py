"""Download of tables over HTTPS from public addresses, with limits on size and time.

 A name is resolved once, every address it has is checked, and the connection goes to the addresses that were
checked, in the resolver's order until one answers, so that nothing else can be put in their place meanwhile.
Redirects go the same way.

 Where HTTPS_PROXY (or ALL_PROXY, HTTP_PROXY) names a proxy and NO_PROXY does not exempt the host, the
connection goes through it by CONNECT. The proxy resolves the name, so only what the address itself says is
checked: its scheme, its port, and that its host is no private IP address and no name of this machine or its
network.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import os
import re
import socket
import ssl
import tempfile
import time
import urllib.request
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from labkit.core.cache import cache_dir, fingerprint
from labkit.core.errors import ConfigError, DataError, LabkitError, SampleError
from labkit.core.safety import offline, public_address
from labkit.hub.download import check_cancelled
from labkit.i18n import _

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
        raise SampleError(
            _("LABKIT_OFFLINE is set, so {address!r} cannot be fetched."), address=shown_address(address)
        )
    until = time.monotonic() + patience
    where = address
    for _unused in range(REDIRECTS + 1):
        connection, path = connected(where, until)
        try:
            connection.request("GET", path, headers={"User-Agent": "labkit", "Accept-Encoding": "identity"})
            with connection.getresponse() as answer:
                if answer.status in _MOVED and (onward := answer.getheader("Location")):
                    where = urljoin(where, _utf8(onward))
                    continue
                if answer.status != 200:
                    raise SampleError(
                        _("{where} responded with HTTP {status} {reason}."),
                        where=shown_address(where), status=answer.status, reason=answer.reason[:80],
                    )  # fmt: skip
                return _kept(answer, where, most, until)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, LabkitError):
                raise
            raise SampleError(
                _("{where} cannot be fetched{via}: {error}."),
                where=shown_address(where), via=connection.via, error=error,
            ) from error  # fmt: skip
        finally:
            connection.close()
    raise SampleError(
        _("{address} is redirected more than {redirects} times."),
        address=shown_address(address),
        redirects=REDIRECTS,
    )


_ADDRESS = re.compile(r"((?:[A-Za-z][A-Za-z0-9+.-]*:(?=//)|https?:)?(?://)?)([^/?#]*)([^?#]*)(.*)", re.DOTALL)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%]*\]|[^\s@:\[\]\\]+)(?::[0-9]*)?")


def shown_address(address: str, limit: int = 200) -> str:
    """An address for messages, without what may be secret: user and password, values of the query, the
    fragment."""
    found = _ADDRESS.fullmatch(address)
    assert found is not None  # it matches every text
    scheme, host, path, rest = found.groups()
    if not _HOST.fullmatch(host) and "@" in address:  # a password may hold / ? and # as well
        inner = _ADDRESS.fullmatch("//" + address.rpartition("@")[2])
        assert inner is not None
        host, path, rest = "…@" + inner[2], inner[3], inner[4]
    query, mark, _ = rest.partition("#")
    return "".join(
        (scheme, host, re.sub(r"(?<=;)([^;=/]*=)?[^;/]+", r"\1…", path),
         re.sub(r"(?<=[?&;])([^=&;]*=)?[^&;]+", r"\1…", query), mark and "#…")
    )[:limit]  # fmt: skip


def _utf8(header: str) -> str:
    """A header, which is read as Latin-1, as the UTF-8 that most servers write."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header


def connected(address: str, until: float) -> tuple[PinnedConnection | _Tunnelled, str]:
    """A connection to the host of an address, not opened yet, and the path to ask for."""
    try:
        parts = urlsplit(address)
        host, port = _ascii(parts.hostname or ""), parts.port or 443
    except ValueError:
        host, parts, port = "", SplitResult("", "", "", "", ""), 0
    if parts.scheme != "https" or not host or "@" in parts.netloc or re.search(r"[\x00-\x20\x7f]", address):
        raise DataError(
            _("{address!r}: only URLs of the form https://host/file are supported."),
            address=shown_address(address),
        )
    patience = max(1.0, min(30.0, until - time.monotonic()))
    proxy = _proxy(host)
    connection = (
        PinnedConnection(host, port, timeout=patience)
        if proxy is None
        else _tunnelled(proxy, host, port, patience)
    )
    if isinstance(connection, PinnedConnection):
        connection.pinned, *connection.others = _resolved(address, host, port)
    else:
        _check_name(address, host)
    path = quote(parts.path or "/", safe=_SAFE)
    return connection, f"{path}?{quote(parts.query, safe=_SAFE + '?')}" if parts.query else path


#: What stays as it is in a path: reserved characters, and what is percent-encoded already.
_SAFE = "/%:@!$&'()*+,;=~-._"


def _ascii(host: str) -> str:
    """A host in ASCII, as the domain name system has it. Raises :class:`ValueError`."""
    return host if host.isascii() else host.encode("idna").decode()


def _resolved(address: str, host: str, port: int) -> list[str]:
    """The IP addresses of a host, in the resolver's order, all of them public."""
    try:
        found = list(
            dict.fromkeys(str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        )
    except (OSError, UnicodeError) as error:
        raise SampleError(
            _("host {host!r} not found: {error}. If the network needs a proxy, set HTTPS_PROXY."),
            host=host[:100],
            error=error,
        ) from error
    for ip in found:
        if not public_address(ip):
            raise _private(address, ip)
    if not found:
        raise SampleError(_("the host {host!r} has no address."), host=host[:100])
    return found


def _private(address: str, where: str) -> DataError:
    return DataError(
        _(
            "{address!r} resolves to {where}, which is this machine or a private network; only public "
            "addresses are allowed. Download the file yourself and give its path."),
        address=shown_address(address), where=where,
    )  # fmt: skip


#: Names that never are of the open internet.
_LOCAL = re.compile(
    r"[^.]+|.*\.(?:localhost|local|internal|intranet|lan|home|corp|home\.arpa)", re.IGNORECASE
)


def _check_name(address: str, host: str) -> None:
    """What can be seen of a host that somebody else resolves: a private IP address, or a name of a private
    network."""
    name = host.rstrip(".")
    try:
        name = str(ipaddress.ip_address(name))
    except ValueError:
        try:
            name = socket.inet_ntoa(
                socket.inet_aton(name)
            )  # 127.1, 0x7f.1 and 2130706433 are addresses as well
        except OSError:
            if _LOCAL.fullmatch(name):
                raise _private(address, name) from None
            return
    if not public_address(name):
        raise _private(address, name)


def secured(raw: socket.socket, host: str) -> Any:
    """TLS over a connection; the certificate must be that of the name."""
    return ssl.create_default_context().wrap_socket(raw, server_hostname=host)


class PinnedConnection(http.client.HTTPSConnection):
    """A connection to one of the addresses that were checked; the certificate is still that of the name."""

    via = ""
    pinned = ""
    others: list[str] = []  # noqa: RUF012 - set for each connection

    def connect(self) -> None:
        until, left, failed = time.monotonic() + (self.timeout or 30.0), [self.pinned, *self.others], []
        while left:
            patience = max(
                1.0, (until - time.monotonic()) / len(left)
            )  # a host that is silent leaves time for the next
            self.pinned = left.pop(0)
            try:
                raw = socket.create_connection((self.pinned, self.port), patience)
                break
            except OSError as error:
                failed.append((self.pinned, error))
        else:
            if len(failed) == 1:
                raise failed[0][1]
            raise OSError("; ".join(f"{ip}: {error}" for ip, error in failed))
        raw.settimeout(self.timeout)
        self.sock = secured(raw, self.host)


class _Tunnelled(http.client.HTTPSConnection):
    """A connection through a proxy."""

    via = ""
    target = ""

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)  # to the proxy, and CONNECT from there
        self.sock = secured(self.sock, self.target)


def _proxy(host: str) -> SplitResult | None:
    """The proxy that the environment names for this host."""
    proxies = urllib.request.getproxies()
    given = proxies.get("https") or proxies.get("all") or proxies.get("http")
    if not given or urllib.request.proxy_bypass(host):
        return None
    try:
        parts = urlsplit(given if "://" in given else f"http://{given}")
        if parts.scheme == "http" and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise ConfigError(
        _("the proxy {given!r} in HTTPS_PROXY must have the form http://host:port."),
        given=shown_address(given, 100),
    )


def _tunnelled(proxy: SplitResult, host: str, port: int, patience: float) -> _Tunnelled:
    connection = _Tunnelled(proxy.hostname or "", proxy.port or 80, timeout=patience)
    headers = {}
    if proxy.username is not None:
        login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(login).decode()}"
    connection.set_tunnel(host, port, headers)
    connection.via = _(
        " through the proxy {host}:{port} (HTTPS_PROXY)", host=proxy.hostname, port=proxy.port or 80
    )
    connection.target = host
    return connection


def _kept(answer: http.client.HTTPResponse, where: str, most: int, until: float) -> Path:
    name = PurePosixPath(unquote(urlsplit(where).path)).name
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".")[-80:] or "table.csv"
    place = cache_dir("web", fingerprint(where)[:16]) / safe
    handle, part = tempfile.mkstemp(dir=place.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            while block := answer.read1(1 << 20):
                check_cancelled()
                file.write(block)
                if file.tell() > most:
                    raise SampleError(
                        _("{where} is larger than {most:,} bytes."), where=shown_address(where), most=most
                    )
                if time.monotonic() > until:
                    raise SampleError(_("{where} timed out."), where=shown_address(where))
        os.replace(part, place)
    finally:
        Path(part).unlink(missing_ok=True)
    return place
