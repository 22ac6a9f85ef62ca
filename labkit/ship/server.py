"""A prediction endpoint: one model behind HTTP, for this machine unless asked otherwise. Standard library only.

``POST /predict`` takes JSON, ``{"texts": ["great value"]}`` (with ``"pairs"`` for models of two texts) or
``{"inputs": [[…]]}`` for pictures and features; it answers ``{"predictions": [{"label": …, "confidence": …, …}]}``.
Every request needs ``Authorization: Bearer TOKEN``. What cannot be answered is refused with a status and one sentence
that holds neither the request nor a traceback; texts are never logged. Other sites' pages cannot read answers (no CORS
headers) nor reach the endpoint by a name of their own (the Host header is checked).
"""

from __future__ import annotations

import dataclasses
import hmac
import json
import logging
import secrets
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import numpy as np

from labkit.base.errors import ConfigError, LabkitError
from labkit.ship.predictor import Predictor

#: What one request may hold: bytes, examples, characters of a text.
BYTES, EXAMPLES, CHARACTERS = 2**20, 64, 10_000
#: Seconds that reading a request, and answering it, may take.
PATIENCE = 10.0
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_LOG = logging.getLogger("labkit.ship")


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


class Endpoint:
    """A model that answers over HTTP, in a thread of this process until :meth:`close`.

    Args:
        predictor: the model.
        host: the address it listens on; the default can be reached from this machine alone.
        port: 0 takes a free one.
        token: what clients must show; left out, a new random one.
        rate: requests a second, at most.

    Raises:
        ConfigError: a token of fewer than 16 characters, a rate below 1, or an address that cannot be listened on.
    """

    def __init__(
        self, predictor: Predictor, host: str = "127.0.0.1", port: int = 0, token: str = "", rate: float = 10.0
    ) -> None:
        if token and (len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token):
            raise ConfigError(
                "a token has 16 characters or more, all ASCII and none a space; leave it out for a new one."
            )
        if not rate >= 1:
            raise ConfigError(f"rate = {rate}; at least one request a second must pass.")
        self.predictor, self.token = predictor, token or secrets.token_urlsafe(32)
        self.bucket = Bucket(rate)
        self._work = ThreadPoolExecutor(1, thread_name_prefix="labkit endpoint")  # one model, one batch at a time
        try:
            self._server = _Server((host, port), self)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"cannot listen on {host}:{port}: {error}. Name another port; 0 takes a free one."
            ) from None
        self.host, self.port = host, int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="labkit endpoint", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The address of the endpoint."""
        return f"http://{self.host}:{self.port}"

    def close(self) -> None:
        """Stop listening; requests in work are answered."""
        self._server.shutdown()
        self._server.server_close()
        self._work.shutdown()

    def wait(self) -> None:
        """Block until the endpoint is closed."""
        while self._thread.is_alive():
            self._thread.join(0.5)  # an interrupt comes through between two waits

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<endpoint {self.url}/predict: {', '.join(self.predictor.classes)}>"

    def allows(self, host: str) -> bool:
        """Whether a Host header names this endpoint; any name may where it listens for other machines."""
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        return name.strip("[]").lower() in {*_LOOPBACK, self.host.lower()} or self.host in ("0.0.0.0", "::")

    def answer(self, values: Any) -> dict[str, Any]:
        """The answer to a request's JSON.

        Raises:
            Refused: it is not a request, or too much; or the answer takes too long.
        """
        examples, pairs = _examples(values)
        waiting: Future[Any] = self._work.submit(self._predict, examples, pairs)
        try:
            found = waiting.result(PATIENCE)
        except Late:
            waiting.cancel()
            raise Refused(503, f"no answer within {PATIENCE:g} seconds. Try again, with fewer examples.") from None
        return {"predictions": [dataclasses.asdict(each) for each in found]}

    def _predict(self, examples: Any, pairs: Any) -> Any:
        try:
            return self.predictor.predict(examples, pairs)
        except (LabkitError, TypeError) as error:  # the examples do not fit the model; the text speaks of shapes
            raise Refused(422, f"these examples do not fit the model: {str(error)[:200]}") from None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], endpoint: Endpoint):
        self.endpoint = endpoint
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        _LOG.debug("a client went away", exc_info=True)  # the base class writes a traceback to stderr


class _Handler(BaseHTTPRequestHandler):
    """One request. ``GET /health`` says that the endpoint is there; everything else needs the token."""

    server: _Server
    server_version, sys_version = "labkit", ""
    timeout = PATIENCE  # of every read from the client

    def do_GET(self) -> None:
        self._reply(self._get)

    def do_POST(self) -> None:
        self._reply(self._post)

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_HEAD = do_GET

    def _reply(self, work: Any) -> None:
        try:
            status, body = 200, work()
        except Refused as refused:
            status, body = refused.status, {"error": refused.said}
        except TimeoutError:
            status, body = 408, {"error": f"the request did not arrive within {PATIENCE:g} seconds."}
        except Exception:
            _LOG.exception("endpoint")
            status, body = 500, {"error": "the model failed on this request; the log of the server says more."}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if status == 429:
            self.send_header("Retry-After", "1")
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _admit(self) -> None:
        endpoint = self.server.endpoint
        if not endpoint.allows(self.headers.get("Host", "")):
            raise Refused(421, "this endpoint has another name: use the address that it was started with.")
        if not endpoint.bucket.take():
            raise Refused(429, f"more than {endpoint.bucket.rate:g} requests a second. Wait a second.")

    def _get(self) -> dict[str, Any]:
        self._admit()
        if self.path != "/health" or self.command not in ("GET", "HEAD"):
            raise Refused(405 if self.path == "/predict" else 404, "there is POST /predict and GET /health.")
        return {"status": "ok"}

    def _post(self) -> dict[str, Any]:
        body = self._body()
        self._admit()
        if self.path != "/predict":
            raise Refused(404, "there is POST /predict and GET /health.")
        given = self.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.server.endpoint.token}".encode()):
            raise Refused(401, "the header Authorization: Bearer TOKEN is missing or wrong.")
        if body is None:
            raise Refused(413, f"a request may have {BYTES:,} bytes.")
        if self.headers.get_content_type() != "application/json":
            raise Refused(415, "a request is JSON: Content-Type: application/json.")
        try:
            return self.server.endpoint.answer(json.loads(body))
        except (ValueError, RecursionError):
            raise Refused(400, "the request is not valid JSON.") from None

    def _body(self) -> bytes | None:
        """The body, read even where it will be refused, so that the client hears why; None where it is too large."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise Refused(411, "the header Content-Length is missing or no number.")
        if int(length) <= BYTES:
            return self.rfile.read(int(length))
        left = min(int(length), 8 * BYTES)
        while left > 0 and (part := self.rfile.read(min(left, 2**16))):
            left -= len(part)
        return None

    def log_message(self, format: str, *values: Any) -> None:
        _LOG.info("%s %s", self.command, values[1] if len(values) > 1 else "")


def _examples(values: Any) -> tuple[Any, list[str] | None]:
    """The examples and second texts of a request. Raises :class:`Refused` for what is none, or too much."""
    if not isinstance(values, dict) or set(values) not in ({"texts"}, {"texts", "pairs"}, {"inputs"}):
        raise Refused(422, 'a request is {"texts": [...]}, with "pairs" for two texts each, or {"inputs": [...]}.')
    for name, given in values.items():
        if not isinstance(given, list) or not 1 <= len(given) <= EXAMPLES:
            raise Refused(422, f'"{name}" must be a list of 1 to {EXAMPLES} examples.')
    if "inputs" in values:
        try:
            inputs = np.asarray(values["inputs"])
        except ValueError:
            inputs = np.empty(0, object)
        if inputs.dtype.kind not in "iuf":
            raise Refused(422, '"inputs" must be numbers, as many for every example.')
        bytes_ = inputs.dtype.kind != "f" and inputs.ndim > 2 and inputs.min() >= 0 and inputs.max() < 256
        return (inputs.astype(np.uint8) if bytes_ else inputs.astype(np.float32)), None
    texts, pairs = values["texts"], values.get("pairs")
    for given in (texts, pairs or []):
        if any(not isinstance(text, str) or len(text) > CHARACTERS for text in given):
            raise Refused(422, f"every text must be a string of at most {CHARACTERS:,} characters.")
    if pairs is not None and len(pairs) != len(texts):
        raise Refused(422, f"{len(texts)} texts and {len(pairs)} pairs: there must be as many of both.")
    return texts, pairs
