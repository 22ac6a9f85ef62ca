"""Prediction endpoint: one model over HTTP, local by default. Standard library only.

 ``POST /predict`` takes JSON, ``{"texts": ["great value"]}`` (with ``"pairs"`` for models of two texts),
``{"inputs": [[…]]}`` for pictures and features, or ``{"records": [{"age": 3, …}]}`` with the columns that the
model was trained on; null is a missing value. It answers ``{"predictions": [{"label": …, "confidence": …,
…}]}``, of a regression ``{"predictions": [{"value": {…}}]}``. Every request needs ``Authorization: Bearer
TOKEN``. What cannot be answered is refused with a status and one sentence that holds neither the request nor
a traceback; nothing of a request is logged. Other sites' pages cannot read answers (no CORS headers) nor
reach the endpoint by another name (the Host header
 is checked: ``hosts`` lists further names). A request has at most 64 examples of 10,000 characters, unless
``examples`` and ``characters`` say otherwise. :mod:`labkit.inference.http` holds the HTTP server.
"""

from __future__ import annotations

import dataclasses
import re
import secrets
import threading
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from typing import Any, Self

import numpy as np

from labkit.core.errors import ConfigError, LabkitError
from labkit.core.text import visible
from labkit.data.model_input import ENDINGS
from labkit.i18n import _
from labkit.inference.http import Quotas, Refused, Server
from labkit.inference.predictor import Predictor
from labkit.train.processors import FeatureProcessor

#: What one request may hold, unless an endpoint says otherwise: bytes, examples, characters of a text.
BYTES, EXAMPLES, CHARACTERS = 2**20, 64, 10_000
#: Seconds that reading a request may take in all, and predicting, and sending the answer; connections at a
#: time.
PATIENCE, CONNECTIONS = 10.0, 400
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Endpoint:
    """A model that answers over HTTP, in a thread of this process until :meth:`close`.

    Args:
        predictor: the model.
        host: the address it listens on; the default can be reached from this machine alone.
        port: 0 takes a free one.
        token: what clients must show; default: a new random one.
        rate: requests a second of a client, at most. A client is an address with the token; what comes from
            the same address without the token is counted apart.
        hosts: further names by which clients may call it (the Host header), such as that of a proxy; without
        a port.
        examples, characters: maximum examples per request, and characters per text.
        patience: seconds for reading a request in all, for predicting, and for sending the answer.
        connections: at a time, each with a thread; further ones get 503.

    Raises:
        ConfigError: a token of fewer than 16 characters, a rate or a limit below 1, no time, or an address
            that cannot be listened on.
    """

    def __init__(
        self, predictor: Predictor, host: str = "127.0.0.1", port: int = 0, token: str = "", rate: float = 10.0, *,
        hosts: Sequence[str] = (), examples: int = EXAMPLES, characters: int = CHARACTERS,
        patience: float | None = None, connections: int = CONNECTIONS,
    ) -> None:  # fmt: skip
        if token and (len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token):
            raise ConfigError(
                _("the token must have at least 16 ASCII characters without spaces; omit it to generate one.")
            )
        if not rate >= 1:
            raise ConfigError(_("rate = {rate}; must be at least 1 request per second."), rate=rate)
        if examples < 1 or characters < 1:
            raise ConfigError(
                _("examples = {examples}, characters = {characters}; each must be at least 1."),
                examples=examples,
                characters=characters,
            )
        self.patience = PATIENCE if patience is None else patience
        if not 0 < self.patience < float("inf") or connections < 1:
            raise ConfigError(
                _(
                    "patience = {patience}, connections = {connections}; patience must be a positive "
                    "number of seconds and connections at least 1."),
                patience=patience, connections=connections,
            )  # fmt: skip
        self.connections = connections
        self.hosts = {name.strip("[]").lower() for name in ([hosts] if isinstance(hosts, str) else hosts)}
        self.examples, self.characters = examples, characters
        self.bytes = max(BYTES, 6 * characters)  # JSON writes a character in six bytes at most
        self.predictor, self.token = predictor, token or secrets.token_urlsafe(32)
        self.quotas = Quotas(rate)
        self._own = _names(predictor)
        self._work = ThreadPoolExecutor(
            1, thread_name_prefix="labkit endpoint"
        )  # one model, one batch at a time
        try:
            self.server = Server((host, port), self)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                _("cannot listen on {host}:{port}: {error}. Choose another port; 0 selects a free one."),
                host=host, port=port, error=error,
            ) from None  # fmt: skip
        self.host, self.port = host, int(self.server.server_address[1])
        self._thread = threading.Thread(
            target=self.server.serve_forever, args=(0.1,), name="labkit endpoint", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """The address of the endpoint."""
        return f"http://{self.host}:{self.port}"

    def close(self) -> None:
        """Stop listening: requests in work are answered, those that wait to be accepted get 503."""
        self.server.finish()
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
        return f"<endpoint {self.url}/predict: {visible(', '.join(self.predictor.classes))}>"

    def allows(self, host: str) -> bool:
        """Whether a Host header names this endpoint; any name may where it listens for other machines."""
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        known = {*_LOOPBACK, *self.hosts, self.host.lower()}
        return name.strip("[]").lower() in known or self.host in ("0.0.0.0", "::")

    def answer(self, values: object) -> dict[str, Any]:
        """The answer to a request's JSON.

        Raises:
            Refused: it is not a request, or too much; or the answer takes too long.
        """
        examples, pairs = self._examples(values)
        waiting: Future[Any] = self._work.submit(self._predict, examples, pairs)
        try:
            found = waiting.result(self.patience)
        except Late:
            waiting.cancel()
            raise Refused(
                503, f"no answer within {self.patience:g} seconds. Try again, with fewer examples."
            ) from None
        answer: dict[str, Any] = {"predictions": [dataclasses.asdict(each) for each in found]}
        if notes := getattr(found, "notes", ()):
            answer["notes"] = list(map(str, notes))
        return answer

    def _examples(self, values: object) -> tuple[Any, list[str] | None]:
        """The examples and second texts of a request. Raises :class:`Refused` for what is none, or too much."""
        if not isinstance(values, dict) or set(values) not in (
            {"texts"},
            {"texts", "pairs"},
            {"inputs"},
            {"records"},
        ):
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
            return numbers_of(values["inputs"]), None
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
                    raise Refused(
                        422, f'"{name}"[{number}] holds a list or an object; a column has one value.'
                    )
        return given

    def _check_text(self, place: str, text: object) -> None:
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

    def _predict(self, examples: object, pairs: list[str] | None) -> Any:
        if self.predictor.processor.modality in ENDINGS and not isinstance(
            examples, np.ndarray
        ):  # else texts would name files of this machine
            raise Refused(422, 'this model reads numbers: {"inputs": [...]}.')
        try:
            return self.predictor.predict(examples, pairs)
        except LabkitError as error:
            said = without_values(str(error), examples, self._own)
        except TypeError:
            said = "a value is of another type than the model reads."
        raise Refused(422, f"these examples do not fit the model: {said[:200]}")


def numbers_of(given: list[Any]) -> np.ndarray:
    """Pictures or features; null is NaN."""
    try:
        inputs = np.asarray(given)
        inputs = inputs.astype(np.float64) if inputs.dtype == object else inputs
    except (TypeError, ValueError, OverflowError):
        inputs = np.empty(0, object)
    if inputs.dtype.kind not in "iuf":
        raise Refused(422, '"inputs" must be numbers, as many for every example.')
    return inputs


def _names(predictor: Predictor) -> set[str]:
    """Names that the model has of its training, which errors may repeat: classes, columns and features."""
    processor = predictor.processor
    standard = processor.standard if isinstance(processor, FeatureProcessor) else None
    features = (
        {*standard.names, *(column.name for column in standard.columns)} if standard is not None else set()
    )
    return {"inputs", "text", "text_pair", *predictor.classes, *predictor.columns, *features}


#: Values in a sentence: arrays, strings in quotes, and numbers that are no row number.
_ARRAY = re.compile(r"\barray\(.*\)", re.DOTALL)
_QUOTED = re.compile(r"'([^']*)(?:'|$)|\"([^\"]*)(?:\"|$)")
_NUMBER = re.compile(
    r"(?<![\w.])[-+]?(?:\d+\.\d+(?:e[-+]?\d+)?|\d+e[-+]?\d+|\d{6,}|nan|inf)(?!\w)", re.IGNORECASE
)


def without_values(said: str, examples: object, own: Collection[str]) -> str:
    """A sentence about examples without their values: it repeats only the names of the model and row numbers."""
    said = _ARRAY.sub("…", said)
    for text in sorted({text for text in _strings(examples) if text in said}, key=len, reverse=True):
        if len(text.strip()) > 2 and text not in own:
            said = re.sub(rf"(?<!\w){re.escape(text)}(?!\w)", "…", said)
    said = _QUOTED.sub(lambda found: found[0] if (found[1] or found[2]) in own else "'…'", said)
    return _NUMBER.sub("…", said)


def _strings(examples: object) -> Iterator[str]:
    """Every string in the examples of a request."""
    if isinstance(examples, str):
        yield examples
    elif isinstance(examples, dict):
        for name, value in examples.items():
            yield from (*_strings(name), *_strings(value))
    elif isinstance(examples, list):
        for each in examples:
            yield from _strings(each)
