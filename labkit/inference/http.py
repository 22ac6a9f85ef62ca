"""HTTP server of an endpoint: limited connections and times, strict requests, JSON responses. Standard
library only.

 One connection carries one request. A request whose length, host or framing is ambiguous is refused, as two
programs could read it differently. Nothing of a request enters a log or an error answer.
"""

from __future__ import annotations

import contextlib
import hmac
import io
import ipaddress
import json
import logging
import re
import socket
import threading
import time
import traceback
from collections import OrderedDict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Protocol

#: Bytes of the request line and the headers; connections that wait for their client to close; clients with a
#: quota.
HEAD, LINGERING, CLIENTS = 2**16, 256, 4096
#: Seconds: for a refused client to read its answer; for a request that is arriving when the endpoint closes.
LINGER, GRACE = 1.0, 2.0
#: Reads of a request that may bring less than so many bytes before the thread pauses between two of them, and
#: seconds of these pauses: a client that sends a byte at a time must not take the time of the others.
DRIPS, DRIP, PAUSES = 4, 1024, (0.05, 0.1, 0.2, 0.4, 0.8)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*\r?\n")
# A target that begins with "//" is one of another host to some programs, and "/" to the base class.
_REQUEST = re.compile(rb"[!-~]+ (?!//)[!-~]+ HTTP/[0-9.]+\r?\n")
_LOG = logging.getLogger("labkit.inference")


class Refused(Exception):
    """A request that is not answered: an HTTP status and a sentence for the client."""

    def __init__(self, status: int, said: str):
        super().__init__(said)
        self.status, self.said = status, said


class Bucket:
    """Lets ``rate`` requests a second through, and as many at once after a pause (a token bucket)."""

    def __init__(self, rate: float):
        self.rate, self._left, self._last = rate, rate, time.monotonic()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Whether one more request may pass now."""
        with self._lock:
            now = time.monotonic()
            self._left = min(self.rate, self._left + (now - self._last) * self.rate)
            self._last = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


class Quotas:
    """A bucket for each client: its address, and whether it has shown the token."""

    def __init__(self, rate: float):
        self.rate, self.buckets = rate, OrderedDict[tuple[bool, str], Bucket]()
        self._lock = threading.Lock()

    def take(self, known: bool, address: str) -> bool:
        """Whether one more request of this client may pass now."""
        client = known, _network(address)
        with self._lock:
            bucket = self.buckets.setdefault(client, Bucket(self.rate))
            self.buckets.move_to_end(client)
            if len(self.buckets) > CLIENTS:
                self.buckets.popitem(last=False)  # the one that has been silent for longest
        return bucket.take()


def _network(address: str) -> str:
    """The address of a client; of IPv6 its /64 network, which one client has as a whole."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(found) if found.version == 4 else str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))


class Route(NamedTuple):
    """What a path takes: its methods, and whether they need no token."""

    methods: tuple[str, ...]
    open: bool = False


class Content(NamedTuple):
    """A response with something else than JSON of status 200."""

    data: bytes
    media_type: str = "application/json"
    status: int = 200
    policy: str = ""  # Content-Security-Policy of a page


class Application(Protocol):
    """What a server answers with, and its limits; ``Endpoint`` in ``server.py`` is one."""

    token: str
    quotas: Quotas
    connections: int
    patience: float
    bytes: int

    def allows(self, host: str) -> bool: ...

    def route(self, path: str) -> Route | None: ...

    def get(self, path: str) -> Content: ...

    def answer(self, path: str, values: object) -> dict[str, Any]: ...

    def observe(self, path: str, status: int, seconds: float) -> None: ...


class Server(ThreadingHTTPServer):
    """A thread for each connection, at most ``endpoint.connections`` of them; further clients get 503 at
    once."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], endpoint: Application):
        self.endpoint = endpoint
        self.open: dict[Any, Handler | None] = {}  # connections that have a thread
        self._lingering: dict[
            Any, float
        ] = {}  # answered connections with unread bytes → when they are closed
        self._changed = threading.Condition()
        super().__init__(address, Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            there = self._has_room()
            if there:
                self.open[request] = None
        if not there:
            self.refuse(request, "too many connections. Try again in a second.")
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system has no further thread
            self._forget(request)
            self.refuse(request, "too many connections. Try again in a second.")

    def _has_room(self) -> bool:
        """Whether a connection may be taken; of a full house, the client that has been silent for longest has
        to go."""
        if len(self.open) < self.endpoint.connections:
            return True
        slow = [
            one for one in self.open.values() if one and not (one.known or one.cut) and one.age() > LINGER
        ]
        if not slow or len(self.open) >= 2 * self.endpoint.connections:
            return False
        max(slow, key=Handler.age).interrupt()
        return True

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._forget(request)

    def _forget(self, request: socket.socket) -> None:
        with self._changed:
            self.open.pop(request, None)
            self._changed.notify_all()

    def enter(self, request: socket.socket, handler: Handler) -> None:
        """Note the handler of a connection."""
        with self._changed:
            self.open[request] = handler

    def refuse(self, request: socket.socket, said: str) -> None:
        """Answer a new connection with 503, without a thread and without reading its request."""
        data = json.dumps({"error": said}).encode()
        head = (
            "HTTP/1.0 503 Service Unavailable\r\nServer: labkit\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\nCache-Control: no-store\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
        )
        self.endpoint.observe("", 503, 0.0)
        try:
            request.setblocking(False)
            request.send(head.encode() + data)
        except OSError:
            self.close_request(request)
            return
        self.linger(request)
        self.shutdown_request(request)

    def linger(self, request: socket.socket) -> None:
        """Keep an answered connection until its client has closed it; closing over unread bytes would reset
        it."""
        if len(self._lingering) < LINGERING:
            try:
                request.shutdown(socket.SHUT_WR)
                request.setblocking(False)
            except OSError:
                return
            self._lingering[request] = time.monotonic() + LINGER

    def shutdown_request(self, request: Any) -> None:
        if request not in self._lingering:
            super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close the lingering connections whose clients have closed, or whose time is over."""
        for request, until in list(self._lingering.items()):
            try:
                parts = 0
                while parts < 8 and request.recv(2**16):
                    parts += 1
                over = parts < 8
            except BlockingIOError:
                over = False
            except OSError:
                over = True
            if over or time.monotonic() > until:
                self.close_request(request)
                self._lingering.pop(request, None)

    def finish(self) -> None:
        """Stop listening; answer the requests in work, refuse those that wait to be accepted.

        A request that is still arriving has :data:`GRACE` seconds more.
        """
        self.shutdown()
        self._refuse_waiting()
        self.server_close()
        until = time.monotonic() + min(GRACE, self.endpoint.patience)
        self._wait(until)
        with self._changed:
            for handler in self.open.values():
                if handler is not None and handler.reading:
                    handler.interrupt()
        self._wait(time.monotonic() + 2 * self.endpoint.patience + 1)
        while self._lingering:
            self.service_actions()
            time.sleep(0.02)

    def _refuse_waiting(self) -> None:
        until = time.monotonic() + LINGER
        self.socket.setblocking(False)
        while time.monotonic() < until:
            try:
                request, _ = self.get_request()
            except OSError:  # none is left
                return
            self.refuse(request, "this endpoint is closing.")

    def _wait(self, until: float) -> None:
        """Wait for the threads of connections."""
        with self._changed:
            while self.open and (left := until - time.monotonic()) > 0:
                self._changed.wait(min(left, 0.1))
                self.service_actions()

    def handle_error(self, request: object, client_address: Any) -> None:
        _LOG.debug("a client went away")  # the base class writes a traceback to stderr


class RequestBody(io.RawIOBase):
    """The bytes of a client, which have until ``until`` to arrive, all of them together."""

    def __init__(self, connection: socket.socket, handler: Handler):
        self.connection, self.handler = connection, handler
        self.drips = 0  # reads that brought few bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        handler = self.handler
        if (late := self.drips - DRIPS) >= 0:
            pause = PAUSES[min(late, len(PAUSES) - 1)]
            handler.interrupted.wait(min(pause, max(0.0, handler.until - time.monotonic())))
        left = handler.until - time.monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            self.connection.settimeout(left)
            count = self.connection.recv_into(buffer)
        except TimeoutError:
            patience = handler.server.endpoint.patience
            raise Refused(408, f"the request did not arrive within {patience:g} seconds.") from None
        except OSError:
            count = 0
        if not count and handler.cut:
            raise Refused(
                503, "the request did not arrive before the endpoint needed the connection or closed."
            )
        self.drips += count < min(DRIP, len(buffer))
        return count


class Handler(BaseHTTPRequestHandler):
    """One request. Everything but the routes that are ``open``, such as ``GET /health``, needs the token."""

    server: Server
    server_version, sys_version = "labkit", ""
    default_request_version = "HTTP/1.0"  # HTTP/0.9 has no status

    def setup(self) -> None:
        super().setup()
        self.begun = time.monotonic()
        self.until = self.begun + self.server.endpoint.patience
        self.known = self.whole = False
        self.interrupted = threading.Event()
        self.reading = True
        self.requestline, self.request_version, self.command = "", self.default_request_version, ""
        self.path = ""
        self.rfile.close()
        self.rfile = io.BufferedReader(RequestBody(self.connection, self))
        self.server.enter(self.request, self)

    def age(self) -> float:
        """Seconds since the connection was accepted."""
        return time.monotonic() - self.begun

    @property
    def cut(self) -> bool:
        """Whether the reading of this request was ended by another thread."""
        return self.interrupted.is_set()

    def interrupt(self) -> None:
        """End the reading of this request, from another thread."""
        self.interrupted.set()
        with contextlib.suppress(OSError):  # the client has gone
            self.connection.shutdown(socket.SHUT_RD)

    def handle(self) -> None:
        try:
            if not self._read_head():
                self.whole = True  # closed without a request, as port scanners and browsers do
                return
            content = self._answer()
        except Refused as refused:
            content = _error(refused.status, refused.said)
        except BaseException as error:  # a panic of a library in Rust is no Exception
            _LOG.error("endpoint: %s", _place(error))
            content = _error(500, "the model failed on this request; the log of the server says more.")
        self.server.endpoint.observe(self.path, content.status, self.age())
        self._say(content)

    def finish(self) -> None:
        super().finish()
        if not self.whole:
            self.server.linger(self.request)

    def _say(self, content: Content) -> None:
        data, status = content.data, content.status
        self.connection.settimeout(self.server.endpoint.patience)  # for all of the answer
        self.send_response(status)
        self.send_header("Content-Type", content.media_type)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        if content.policy:
            self.send_header("Content-Security-Policy", content.policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        if status in (429, 503):
            self.send_header("Retry-After", "1")
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _read_head(self) -> bool:
        """Read the request line and the headers; False where the client closes without any. Strict, as the
        base class drops what it cannot read."""
        body = self.rfile
        self.raw_requestline = body.readline(HEAD + 1)
        if not self.raw_requestline:
            return False
        if len(self.raw_requestline) > HEAD:
            raise Refused(414, "the address of the request is too long.")
        if not _REQUEST.fullmatch(self.raw_requestline):
            raise Refused(400, "the request is not valid HTTP.")
        head, left = [], HEAD
        while (line := body.readline(left + 1)) not in (b"\r\n", b"\n"):
            left -= len(line)
            if left < 0:
                raise Refused(431, "the headers of the request are too long.")
            if not _FIELD.fullmatch(line):
                raise Refused(400, "the headers of the request are not valid HTTP.")
            head.append(line)
        self.rfile = io.BufferedReader(io.BytesIO(b"".join([*head, line])))
        self.parse_request()  # it calls send_error, which raises
        self.rfile = body
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class finds wrong, as an answer of labkit; its own page repeats the request."""
        raise Refused(code, f"the request is not answered: {HTTPStatus(code).phrase.lower()}.")

    def _header(self, name: str) -> str | None:
        """The only value of a header."""
        values = self.headers.get_all(name, [])
        if len(values) > 1:
            raise Refused(400, f"the header {name} is given {len(values)} times.")
        return values[0].strip(" \t") if values else None

    def _answer(self) -> Content:
        endpoint = self.server.endpoint
        length, host, shown = self._length(), self._header("Host"), self._header("Authorization") or ""
        if host is None:
            raise Refused(400, "the header Host is missing.")
        self.known = hmac.compare_digest(shown.encode(), f"Bearer {endpoint.token}".encode())
        admitted = self._refusal(host)
        body = self._body(length, keep=admitted is None)
        self.reading = False
        if admitted is not None:
            raise admitted
        if self.command in ("GET", "HEAD"):
            return endpoint.get(self.path)
        if body is None:
            raise Refused(413, f"a request may have {endpoint.bytes:,} bytes.")
        if (self._header("Content-Type") or "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "a request is JSON: Content-Type: application/json.")
        try:
            values = json.loads(body, object_pairs_hook=_unique, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise Refused(400, "the request is not valid JSON.") from None
        return Content(json.dumps(endpoint.answer(self.path, values)).encode())

    def _refusal(self, host: str) -> Refused | None:
        """Why a request is refused whatever its body is."""
        endpoint = self.server.endpoint
        if not endpoint.allows(host):
            return Refused(
                421,
                "this endpoint has another name: use the address that it was started with, or start it with this name "
                "(hosts=, --host-name).",
            )
        if not endpoint.quotas.take(self.known, self.client_address[0]):
            return Refused(429, f"more than {endpoint.quotas.rate:g} requests a second. Wait a second.")
        if self.command not in METHODS:
            return Refused(501, "there is POST /predict and GET /health.")
        route = endpoint.route(self.path)
        allowed = route is not None and self.command in route.methods
        if route is not None and route.open and allowed:
            return None
        if not self.known and (allowed or self.command == "POST"):
            return Refused(401, "the header Authorization: Bearer TOKEN is missing or wrong.")
        if not allowed:
            return Refused(404 if route is None else 405, "there is POST /predict and GET /health.")
        return None

    def _length(self) -> int:
        """The length of the body; only POST needs the header."""
        given, coded = self._header("Content-Length"), self._header("Transfer-Encoding")
        if coded is not None and given is not None:
            raise Refused(400, "the request has Content-Length and Transfer-Encoding; a body has one length.")
        if coded is not None or (given is None and self.command == "POST"):
            raise Refused(411, "the header Content-Length is missing; a body comes in one piece.")
        if given is not None and not re.fullmatch("[0-9]{1,12}", given):
            raise Refused(400, "the header Content-Length must be a number of at most 12 digits.")
        return int(given or 0)

    def _body(self, length: int, keep: bool) -> bytes | None:
        """The body, read even where it will be refused, so that the client hears why; None where it is too
        large."""
        most = self.server.endpoint.bytes
        left, parts = min(length, 8 * most), []
        while left > 0:
            if not (part := self.rfile.read(min(left, 2**16))):
                raise Refused(400, "the body is shorter than Content-Length.")
            left -= len(part)
            if keep and length <= most:
                parts.append(part)
        self.whole = length <= 8 * most
        return b"".join(parts) if length <= most else None

    def log_request(self, code: Any = "-", size: object = "-") -> None:
        _LOG.info("%s %d", self.command if self.command in METHODS else "-", int(code))

    def log_message(self, format: str, *values: object) -> None:
        """Nothing: the messages of the base class repeat the request."""


def _error(status: int, said: str) -> Content:
    return Content(json.dumps({"error": said}).encode(), status=status)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; two readers could differ in which of two equal keys they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Refused(400, "the request has a JSON object with a key that is given twice.")
    return found


def _no_constant(name: str) -> None:
    """NaN and Infinity, which are not JSON."""
    raise ValueError


def _place(error: BaseException) -> str:
    """Class of an error and where it was raised; its message may hold text of the request."""
    frames = traceback.extract_tb(error.__traceback__)
    where = [
        f"{frame.filename.replace(chr(92), '/').rsplit('/', 1)[-1]}:{frame.lineno}" for frame in frames[-3:]
    ]
    return f"{type(error).__name__} at {' < '.join(reversed(where))}"
