"""A prediction endpoint: one model behind HTTP, for this machine unless asked otherwise. Standard library only.

``POST /predict`` takes JSON, ``{"texts": ["great value"]}`` (with ``"pairs"`` for models of two texts),
``{"inputs": [[…]]}`` for pictures and features, or ``{"records": [{"age": 3, …}]}`` with the columns that the model was
trained on; null is a missing value. It answers ``{"predictions": [{"label": …, "confidence": …, …}]}``, of a regression
``{"predictions": [{"value": {…}}]}``. Every request needs ``Authorization: Bearer TOKEN``. What cannot be answered is
refused with a status and one sentence that holds neither the request nor a traceback; texts are never logged. Other
sites' pages cannot read answers (no CORS headers) nor reach the endpoint by a name of their own (the Host header is
checked: ``hosts`` lists further names). A request has at most 64 examples of 10,000 characters, unless ``examples`` and
``characters`` say otherwise.
"""

from __future__ import annotations

import dataclasses
import hmac
import json
import logging
import secrets
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import numpy as np

from labkit.base.errors import ConfigError, LabkitError
from labkit.data.given import ENDINGS
from labkit.ship.predictor import Predictor

#: What one request may hold, unless an endpoint says otherwise: bytes, examples, characters of a text.
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
        hosts: further names by which clients may call it (the Host header), such as that of a proxy; without a port.
        examples, characters: of a request, and of a text, at most.

    Raises:
        ConfigError: a token of fewer than 16 characters, a rate or a limit below 1, or an address that cannot be
            listened on.
    """

    def __init__(
        self, predictor: Predictor, host: str = "127.0.0.1", port: int = 0, token: str = "", rate: float = 10.0, *,
        hosts: Sequence[str] = (), examples: int = EXAMPLES, characters: int = CHARACTERS,
    ) -> None:  # fmt: skip
        if token and (len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token):
            raise ConfigError(
                "a token has 16 characters or more, all ASCII and none a space; leave it out for a new one."
            )
        if not rate >= 1:
            raise ConfigError(f"rate = {rate}; at least one request a second must pass.")
        if examples < 1 or characters < 1:
            raise ConfigError(f"examples = {examples}, characters = {characters}; at least one of each must pass.")
        self.hosts = {name.strip("[]").lower() for name in ([hosts] if isinstance(hosts, str) else hosts)}
        self.examples, self.characters = examples, characters
        self.bytes = max(BYTES, 6 * characters)  # JSON writes a character in six bytes at most
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
        known = {*_LOOPBACK, *self.hosts, self.host.lower()}
        return name.strip("[]").lower() in known or self.host in ("0.0.0.0", "::")

    def answer(self, values: Any) -> dict[str, Any]:
        """The answer to a request's JSON.

        Raises:
            Refused: it is not a request, or too much; or the answer takes too long.
        """
        examples, pairs = self._examples(values)
        waiting: Future[Any] = self._work.submit(self._predict, examples, pairs)
        try:
            found = waiting.result(PATIENCE)
        except Late:
            waiting.cancel()
            raise Refused(503, f"no answer within {PATIENCE:g} seconds. Try again, with fewer examples.") from None
        return {"predictions": [dataclasses.asdict(each) for each in found]}

    def _examples(self, values: Any) -> tuple[Any, list[str] | None]:
        """The examples and second texts of a request. Raises :class:`Refused` for what is none, or too much."""
        if not isinstance(values, dict) or set(values) not in ({"texts"}, {"texts", "pairs"}, {"inputs"}, {"records"}):
            raise Refused(
                422,
                'a request is {"texts": [...]}, with "pairs" for two texts each, {"inputs": [...]}, or '
                '{"records": [{...}]} by column name.',
            )
        for name, given in values.items():
            if not isinstance(given, list) or not 1 <= len(given) <= self.examples:
                raise Refused(422, f'"{name}" must be a list of 1 to {self.examples} examples.')
        for name, given in values.items():
            records = any(isinstance(each, dict) for each in given)
            if name == "records" or (name != "pairs" and records):
                return self._records(name, given), None
        if "inputs" in values:
            return _numbers(values["inputs"]), None
        texts, pairs = values["texts"], values.get("pairs")
        for name, given in values.items():
            for number, text in enumerate(given):
                self._check_text(f'"{name}"[{number}]', text)
        if pairs is not None and len(pairs) != len(texts):
            raise Refused(422, f"{len(texts)} texts and {len(pairs)} pairs: there must be as many of both.")
        return texts, pairs

    def _records(self, name: str, given: list[Any]) -> list[dict[str, Any]]:
        """Examples by column name."""
        for number, record in enumerate(given):
            if not isinstance(record, dict):
                raise Refused(422, f'"{name}"[{number}] must be an object, column name to value.')
            for value in record.values():
                if isinstance(value, str) and len(value) > self.characters:
                    self._check_text(f'"{name}"[{number}], a column,', value)
                if isinstance(value, dict | list):
                    raise Refused(422, f'"{name}"[{number}] holds a list or an object; a column has one value.')
        return given

    def _check_text(self, place: str, text: Any) -> None:
        if text is None:
            raise Refused(422, f"{place} is null: the text is missing.")
        if not isinstance(text, str):
            raise Refused(422, f"{place} must be a string.")
        if len(text) > self.characters:
            raise Refused(
                422,
                f"{place} has {len(text):,} characters; every text may have at most {self.characters:,} characters. "
                "The server sets the limit (characters=, --characters).",
            )

    def _predict(self, examples: Any, pairs: Any) -> Any:
        kind = getattr(getattr(self.predictor, "inputs", None), "kind", "text")
        if kind in ENDINGS and not isinstance(examples, np.ndarray):  # else texts would name files of this machine
            raise Refused(422, 'this model reads numbers: {"inputs": [...]}.')
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
            raise Refused(
                421,
                "this endpoint has another name: use the address that it was started with, or start it with this name "
                "(hosts=, --host-name).",
            )
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
            raise Refused(413, f"a request may have {self.server.endpoint.bytes:,} bytes.")
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
        most = self.server.endpoint.bytes
        if int(length) <= most:
            return self.rfile.read(int(length))
        left = min(int(length), 8 * most)
        while left > 0 and (part := self.rfile.read(min(left, 2**16))):
            left -= len(part)
        return None

    def log_message(self, format: str, *values: Any) -> None:
        _LOG.info("%s %s", self.command, values[1] if len(values) > 1 else "")


def _numbers(given: list[Any]) -> np.ndarray:
    """Pictures or features; null is NaN."""
    try:
        inputs = np.asarray(given)
        inputs = inputs.astype(np.float64) if inputs.dtype == object else inputs
    except (TypeError, ValueError):
        inputs = np.empty(0, object)
    if inputs.dtype.kind not in "iuf":
        raise Refused(422, '"inputs" must be numbers, as many for every example.')
    return inputs
