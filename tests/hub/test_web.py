"""Addresses: every host that the resolver gives is tried, names and paths in any script, proxies of the environment."""

from __future__ import annotations

import base64
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import labkit as lk
from labkit.core.errors import ConfigError, DataError, LabkitError, SampleError
from labkit.hub import web

CSV = b"text,label\ngood,a\nbad,b\n"
PROXIES = (
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
)


class _Server(http.server.BaseHTTPRequestHandler):
    """A web server that is a proxy as well: whatever is asked through it, it answers itself."""

    seen: list[tuple[str, str, str | None]] = []  # noqa: RUF012

    def do_CONNECT(self) -> None:
        self.seen.append(("CONNECT", self.path, self.headers["Proxy-Authorization"]))
        self.send_response(403 if "forbidden" in self.path else 200)
        self.end_headers()
        self.wfile.flush()
        self.rfile = self.connection.makefile("rb")
        if "forbidden" not in self.path:
            self.handle_one_request()
        self.close_connection = True

    def do_GET(self) -> None:
        self.seen.append(("GET", self.path, self.headers["Host"]))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/données.csv".encode().decode("latin-1"))
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CSV)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LABKIT_OFFLINE", raising=False)
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[http.server.ThreadingHTTPServer]:
    """A server on this machine, without certificates."""
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    monkeypatch.setattr(web, "secured", lambda raw, host: raw)
    _Server.seen.clear()
    yield made
    made.shutdown()
    made.server_close()


def resolves(monkeypatch: pytest.MonkeyPatch, *found: str) -> list[str]:
    asked: list[str] = []

    def resolve(host: str, port: int, **_: object) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET6 if ":" in ip else socket.AF_INET, 1, 6, "", (ip, port)) for ip in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


def connects(monkeypatch: pytest.MonkeyPatch, server: Any, good: str) -> list[str]:
    """Of all addresses only ``good`` answers, by the server here."""
    real, tried = socket.socket, []

    def connect(where: tuple[str, int], timeout: float) -> Any:
        tried.append(where[0])
        if where[0] != good:
            raise OSError(101, "Network is unreachable")
        sock = real()
        sock.connect(server.server_address)
        return sock

    monkeypatch.setattr(socket, "create_connection", connect)
    return tried


def test_addresses_are_tried_in_the_resolvers_order(monkeypatch, server):
    resolves(monkeypatch, "52.85.1.1", "2600:9000::1", "52.85.1.2", "52.85.1.2")
    connection, _ = web.connected("https://example.org/a.csv", time.monotonic() + 9)
    assert connection.pinned == "52.85.1.1"
    tried = connects(monkeypatch, server, "52.85.1.2")
    assert lk.load("https://example.org/a.csv")["train"]["text"][:] == ["good", "bad"]
    assert tried == ["52.85.1.1", "2600:9000::1", "52.85.1.2"]
    connects(monkeypatch, server, "")
    said = r"52\.85\.1\.1: .*unreachable; 2600:9000::1: .*unreachable; 52\.85\.1\.2: "
    with pytest.raises(SampleError, match=said):
        lk.load("https://example.org/a.csv")


def test_a_silent_address_leaves_time_for_the_others(monkeypatch):
    given: list[float] = []

    def connect(where: tuple[str, int], timeout: float) -> Any:
        given.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", connect)
    connection = web.PinnedConnection("example.org", 443, timeout=8)
    connection.pinned, connection.others = "52.85.1.1", ["52.85.1.2", "52.85.1.3"]
    with pytest.raises(OSError, match="timed out"):
        connection.connect()
    assert given == pytest.approx([8 / 3, 4, 8], abs=0.2)


def test_paths_and_hosts_of_any_script(monkeypatch, server):
    asked = resolves(monkeypatch, "52.85.1.1")
    connects(monkeypatch, server, "52.85.1.1")
    for address in ("https://bücher.example/données/été.csv?q=ä&x=%20", "https://bücher.example/moved"):
        assert len(lk.load(address)) == 2
    assert asked == ["xn--bcher-kva.example"] * 3
    host = "xn--bcher-kva.example"
    assert _Server.seen == [
        ("GET", "/donn%C3%A9es/%C3%A9t%C3%A9.csv?q=%C3%A4&x=%20", host),
        ("GET", "/moved", host),
        ("GET", "/donn%C3%A9es.csv", host),
    ]
    with pytest.raises(DataError, match="only URLs of the form"):
        lk.load("https://" + "ü" * 70 + ".example/x.csv")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://user:SECRET@host/x.csv", "https://…@host/x.csv"),
        ("https://:SECRET@host/", "https://…@host/"),
        ("https://SECRET@host", "https://…@host"),
        ("https://u:SEC/RET@host/a.csv?x=SECRET", "https://…@host/a.csv?x=…"),
        ("https://u:SEC?R#T@host:8/a", "https://…@host:8/a"),
        ("https:u:SECRET@host", "https:…@host"),
        ("https:///u:SECRET@host/y", "https://…@host/y"),
        ("SECRET:SECRET@host:80", "…@host:80"),
        ("https://host/a?token=SECRET&b=SE=CRET;c=SECRET", "https://host/a?token=…&b=…;c=…"),
        ("https://host/a?SECRET", "https://host/a?…"),
        ("https://host/a;sid=SECRET/b#access_token=SECRET", "https://host/a;sid=…/b#…"),
        ("https://host/@user/a.csv", "https://host/@user/a.csv"),
        ("https://[::1]:80/données.csv", "https://[::1]:80/données.csv"),
        ("not an address\nat all", "not an address\nat all"),
    ],
)
def test_addresses_are_shown_without_their_secrets(address: str, shown: str):
    assert web.shown_address(address) == shown


@pytest.mark.parametrize(
    "address",
    ["https://user:SECRET@example.org/x.csv", "https://:SECRET@example.org/x.csv", "https://SECRET@example.org/x.csv",
     "https://@example.org/x.csv?token=SECRET", "http://example.org/x.csv?token=SECRET"],
)  # fmt: skip
def test_addresses_with_a_login_are_refused_without_repeating_it(monkeypatch, address: str):
    asked = resolves(monkeypatch, "52.85.1.1")
    with pytest.raises(DataError, match="only URLs of the form https://host/file") as caught:
        lk.load(address)
    assert "SECRET" not in str(caught.value) and asked == []


def test_no_message_about_an_address_holds_its_query(monkeypatch, server):
    address = "https://example.org/x.csv?token=SECRET"
    said = []

    def fails(**settings: Any) -> None:
        with pytest.raises(LabkitError) as caught:
            lk.load(address, **settings) if settings else web.fetched(address, most=3)
        said.append(str(caught.value))

    resolves(monkeypatch, "52.85.1.1")
    connects(monkeypatch, server, "52.85.1.1")
    fails()  # larger than it may be
    fails(size=3)
    monkeypatch.setattr(_Server, "do_GET", lambda self: self.send_error(404, "gone"))
    fails()
    monkeypatch.setattr(_Server, "do_GET", lambda self: None)
    fails()
    connects(monkeypatch, server, "")
    fails()
    resolves(monkeypatch, "10.0.0.1")
    fails()
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    fails()
    assert all("SECRET" not in each for each in said), said
    parts = (
        "larger than 3 bytes",
        "the address",
        "responded with HTTP 404",
        "cannot be fetched",
        "unreachable",
        "resolves to",
        "OFFLINE",
    )
    assert all(part in each for part, each in zip(parts, said, strict=True)), said


def test_a_host_that_is_not_found_speaks_of_proxies(monkeypatch):
    def fails(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with pytest.raises(
        SampleError, match=r"'example\.org' not found: .* If the network needs a proxy, set HTTPS_PROXY"
    ):
        lk.load("https://example.org/x.csv")


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"])
def test_a_proxy_of_the_environment_is_used(monkeypatch, server, variable: str):
    host, port = server.server_address
    monkeypatch.setenv(variable, f"http://me:s%40fe@{host}:{port}")
    assert lk.load("https://example.org/x.csv")["train"]["text"][:] == ["good", "bad"]
    login = "Basic " + base64.b64encode(b"me:s@fe").decode()
    assert _Server.seen == [("CONNECT", "example.org:443", login), ("GET", "/x.csv", "example.org")]


def test_a_proxy_without_a_scheme_and_hosts_that_need_none(monkeypatch, server):
    host, port = server.server_address
    monkeypatch.setenv("HTTPS_PROXY", f"{host}:{port}")
    assert len(lk.load("https://example.org:8443/x.csv")) == 2
    assert _Server.seen[0][1] == "example.org:8443"
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("10.0.0.1", 443))])
    with pytest.raises(DataError, match=r"resolves to 10\.0\.0\.1"):
        lk.load("https://example.org/x.csv")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "127.1", "0x7f000001", "2130706433", "[::1]", "[::ffff:10.0.0.1]",
     "localhost", "localhost.", "printer", "db.internal", "nas.local", "①②⑦.0.0.1"],
)  # fmt: skip
def test_a_proxy_is_asked_for_no_private_host(monkeypatch, server, host: str):
    monkeypatch.setenv("HTTPS_PROXY", "http://{}:{}".format(*server.server_address))
    with pytest.raises(DataError, match=r"this machine or a private network|only addresses of the form"):
        lk.load(f"https://{host}/x.csv")
    assert _Server.seen == []


def test_proxies_that_fail_are_named_without_their_password(monkeypatch, server):
    host, port = server.server_address
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@{host}:{port}")
    with pytest.raises(
        SampleError, match=rf"cannot be fetched through the proxy {host}:{port} \(HTTPS_PROXY\): .*403"
    ) as caught:
        lk.load("https://forbidden.org/x.csv")
    assert "secret" not in str(caught.value)
    for given in ("socks5://me:secret@host:1", "http://", "http://host:99999999"):
        monkeypatch.setenv("HTTPS_PROXY", given)
        with pytest.raises(ConfigError, match="must have the form http://host:port") as bad:
            lk.load("https://example.org/x.csv")
        assert "secret" not in str(bad.value)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(LabkitError, match="through the proxy"):
            lk.load("https://example.org/x.csv")
