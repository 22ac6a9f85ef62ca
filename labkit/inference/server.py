"""Prediction endpoint: models over HTTP, local by default. Standard library only.

 ``POST /predict`` takes JSON, ``{"texts": ["great value"]}`` (with ``"pairs"`` for models of two texts),
``{"inputs": [[…]]}`` for pictures and features, or ``{"records": [{"age": 3, …}]}`` with the columns that the
model was trained on; null is a missing value. It answers ``{"predictions": [{"label": …, "confidence": …,
…}]}``, of a regression ``{"predictions": [{"value": {…}}]}``, of tagged words
``{"predictions": [{"words": […], "tags": […], "probabilities": […], "entities": […]}]}``. Every request needs
``Authorization: Bearer TOKEN``. What cannot be answered is refused with a status and one sentence that holds neither
the request nor a traceback; nothing of a request is logged. Other sites' pages cannot read answers (no CORS headers)
nor reach the endpoint by another name (the Host header is checked: ``hosts`` lists further names). A request has at
most 64 examples of 10,000 characters, unless ``examples`` and ``characters`` say otherwise. Requests that wait while a
model computes are predicted as one batch (:mod:`labkit.inference.request_batches`). Of several models, each also
answers ``POST /models/NAME/predict``. ``GET /metrics`` has figures for Prometheus, ``GET /docs`` a page with the
OpenAPI description, ``GET /health/live`` and ``/health/ready`` are for a supervisor.

 :mod:`labkit.inference.http` holds the HTTP server. It is not one of ASGI (uvicorn, hypercorn): these have no limit on
the time in which a request arrives (408), accept bodies without a length (411), and drop rather than answer what is
beyond the limit of connections.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as Late
from importlib import metadata
from typing import Any, Self

import numpy as np

from labkit.core.errors import ConfigError, LabkitError
from labkit.core.text import visible
from labkit.data.model_input import ENDINGS
from labkit.i18n import _
from labkit.inference import openapi, server_metrics
from labkit.inference.drift import DriftResult, DriftTest, DriftWatch
from labkit.inference.http import Content, Quotas, Refused, Route, Server
from labkit.inference.predictor import Predictor
from labkit.inference.registry import RowPipeline
from labkit.inference.request_batches import RequestBatches
from labkit.train.processors import FeatureProcessor

#: What one request may hold, unless an endpoint says otherwise: bytes, examples, characters of a text.
BYTES, EXAMPLES, CHARACTERS = 2**20, 64, 10_000
#: Seconds that reading a request may take in all, and predicting, and sending the answer; connections at a
#: time.
PATIENCE, CONNECTIONS = 10.0, 400
#: Examples that are predicted at a time, of one request or several.
BATCH = 32
#: Name of the only model.
DEFAULT = "model"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_READ = ("GET", "HEAD")
#: Paths beside those of the models.
_ROUTES = {
    "/health": Route(_READ, open=True), "/health/live": Route(_READ, open=True),
    "/health/ready": Route(_READ, open=True), "/docs": Route(_READ, open=True),
    "/openapi.json": Route(_READ), "/metrics": Route(_READ), "/models": Route(_READ),
}  # fmt: skip
_LOG = logging.getLogger("labkit.inference")
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class ServedModel:
    """A model of an endpoint, with its queue of requests.

    Attributes:
        predictor: the model in use; :meth:`replace` changes it between two batches.
        loaded: seconds since 1970 at which it was taken into use.
    """

    def __init__(self, name: str, predictor: RowPipeline, batch: int, metrics: server_metrics.ServerMetrics):
        self.name, self._metrics = name, metrics
        self.drift: DriftWatch | None = None
        self.replace(predictor)
        self.queue = RequestBatches(self._predict, batch, self._observe)

    def replace(self, predictor: RowPipeline) -> None:
        """Use another model from the next batch on."""
        self._used = predictor, _names(predictor)
        self.loaded = time.time()

    @property
    def predictor(self) -> RowPipeline:
        """The model in use."""
        return self._used[0]

    def _observe(self, requests: int, examples: int) -> None:
        self._metrics.batched.add(requests, model=self.name)
        self._metrics.batches.observe(examples, model=self.name)

    def _predict(self, examples: object, pairs: list[str] | None) -> Any:
        predictor, own = self._used
        if predictor.processor.modality in ENDINGS and not isinstance(
            examples, np.ndarray
        ):  # else texts would name files of this machine
            raise Refused(422, 'this model reads numbers: {"inputs": [...]}.')
        begun = time.monotonic()
        try:
            found = predictor.predictions(examples, pairs)
        except LabkitError as error:
            said = without_values(str(error), examples, own)
        except TypeError:
            said = "a value is of another type than the model reads."
        else:
            self._metrics.predictions.observe(time.monotonic() - begun, model=self.name)
            if self.drift is not None and isinstance(predictor, Predictor):
                self.drift.add(predictor, examples, pairs)
            return found
        raise Refused(422, f"these examples do not fit the model: {said[:200]}")


class Endpoint:
    """Models that answer over HTTP, in threads of this process until :meth:`close`.

    Args:
        predictor: the model, or several by name (letters, digits, ``_``, ``.``, ``-``); the first one answers
            ``/predict``, each one ``/models/NAME/predict``.
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
        batch: examples of several waiting requests that are predicted together, at most; 1: each request alone.
        drain: seconds between the call of :meth:`close` and the end of listening, in which ``/health/ready`` is 503
            and requests are answered.
        load: loads a model again by its name, for :meth:`reload`.
        drift: name → the test of drift against its training rows.

    Raises:
        ConfigError: a token of fewer than 16 characters, a rate or a limit below 1, no time, a name that cannot be
            part of an address, or an address that cannot be listened on.
    """

    def __init__(
        self, predictor: RowPipeline | Mapping[str, RowPipeline], host: str = "127.0.0.1", port: int = 0,
        token: str = "", rate: float = 10.0, *, hosts: Sequence[str] = (), examples: int = EXAMPLES,
        characters: int = CHARACTERS, patience: float | None = None, connections: int = CONNECTIONS,
        batch: int = BATCH, drain: float = 0.0, load: Callable[[str], RowPipeline] | None = None,
        drift: Mapping[str, DriftTest] | None = None,
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
        self.token, self.quotas = token or secrets.token_urlsafe(32), Quotas(rate)
        given = dict(predictor) if isinstance(predictor, Mapping) else {DEFAULT: predictor}
        _check_models(given, batch, drain)
        self.metrics, self.drain, self._load = server_metrics.ServerMetrics(), drain, load
        self._closing = False
        try:
            self.server = Server((host, port), self)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                _("cannot listen on {host}:{port}: {error}. Choose another port; 0 selects a free one."),
                host=host, port=port, error=error,
            ) from None  # fmt: skip
        self.models = {name: ServedModel(name, each, batch, self.metrics) for name, each in given.items()}
        for name, test in (drift or {}).items():
            self.models[name].drift = DriftWatch(
                test, report=lambda result, name=name: _log_drift(name, result)
            )
        self._paths = {f"/models/{name}/predict": model for name, model in self.models.items()}
        self._paths["/predict"] = next(iter(self.models.values()))
        self.host, self.port = host, int(self.server.server_address[1])
        self._thread = threading.Thread(
            target=self.server.serve_forever, args=(0.1,), name="labkit endpoint", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """The address of the endpoint."""
        return f"http://{self.host}:{self.port}"

    @property
    def predictor(self) -> RowPipeline:
        """The model that answers ``/predict``."""
        return self._paths["/predict"].predictor

    def reload(self, name: str = "") -> None:
        """Load a model again from where it came, by default all; requests are answered meanwhile, by the old one.

        Raises:
            ConfigError: there is no such model, or it was given as an object.
            LabkitError: it cannot be loaded; the old one stays in use.
        """
        if name and name not in self.models:
            raise ConfigError(
                _("no model {name!r}. There is: {known}."), name=name, known=", ".join(self.models)
            )
        if self._load is None:
            raise ConfigError(_("these models were given as objects; serve a folder or a run to reload it."))
        for model in [self.models[name]] if name else self.models.values():
            try:
                model.replace(self._load(model.name))
            except BaseException:
                self.metrics.reloads.add(model=model.name, result="failed")
                raise
            self.metrics.reloads.add(model=model.name, result="ok")

    def close(self) -> None:
        """Stop listening, after :attr:`drain` seconds: requests in work are answered, those that wait to be accepted
        get 503."""
        self._closing = True
        if self.drain:
            time.sleep(self.drain)
        self.server.finish()
        for model in self.models.values():
            model.queue.close()
            if model.drift is not None:
                model.drift.close()

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

    def route(self, path: str) -> Route | None:
        """What a path takes; None for one that there is not."""
        return Route(("POST",)) if path in self._paths else _ROUTES.get(path)

    def observe(self, path: str, status: int, seconds: float) -> None:
        """Count a response; paths of strangers are counted together."""
        known = path if self.route(path) is not None else "other"
        self.metrics.requests.add(path=known, status=str(status))
        if status != 503 or seconds:
            self.metrics.seconds.observe(seconds, path=known)

    def get(self, path: str) -> Content:
        """The response to GET on a path of :meth:`route`."""
        if path == "/docs":
            return Content(openapi.page(), "text/html; charset=utf-8", policy=openapi.policy())
        if path == "/metrics":
            return Content(self._metrics_text().encode(), server_metrics.MEDIA_TYPE)
        if path == "/openapi.json":
            models = {name: tuple(model.predictor.classes) for name, model in self.models.items()}
            made = openapi.document(models, metadata.version("labkit"), self.examples, self.characters)
            return Content(openapi.as_json(made))
        if path == "/models":
            listed = [
                {"name": name, "path": f"/models/{name}/predict", "classes": list(model.predictor.classes)}
                for name, model in self.models.items()
            ]
            return Content(openapi.as_json({"models": listed}))
        if path == "/health/ready" and self._closing:
            return Content(openapi.as_json({"status": "closing"}), status=503)
        return Content(openapi.as_json({"status": "ok"}))

    def _metrics_text(self) -> str:
        def by_model(value: Callable[[ServedModel], float | None]) -> dict[server_metrics.Labels, float]:
            found = {(("model", name),): value(model) for name, model in self.models.items()}
            return {labels: number for labels, number in found.items() if number is not None}

        def drift(value: Callable[[DriftWatch], float | None]) -> dict[server_metrics.Labels, float]:
            return by_model(lambda model: None if model.drift is None else value(model.drift))

        return self.metrics.text({
            "labkit_connections": ("Open connections.", {(): len(self.server.open)}),
            "labkit_ready": ("1 while requests are accepted.", {(): float(not self._closing)}),
            "labkit_waiting_requests": ("Requests that wait for the model.", by_model(lambda m: len(m.queue))),
            "labkit_model_loaded_timestamp_seconds": ("When the model was loaded.", by_model(lambda m: m.loaded)),
            "labkit_drift_windows": ("Windows of examples tested for drift.", drift(lambda watch: watch.windows)),
            "labkit_drift_alarms": ("Windows with an alarm.", drift(lambda watch: watch.alarms)),
            "labkit_drift_p_value": ("p-value of the newest window.",
                                     drift(lambda watch: None if watch.last is None else watch.last.p_value)),
        })  # fmt: skip

    def answer(self, path: str, values: object) -> dict[str, Any]:
        """The answer to a request's JSON.

        Raises:
            Refused: it is not a request, or too much; or the answer takes too long.
        """
        examples, pairs = self._examples(values)
        waiting = self._paths[path].queue.submit(examples, pairs)
        try:
            found = waiting.result(self.patience)
        except Late:
            waiting.cancel()
            raise Refused(
                503, f"no answer within {self.patience:g} seconds. Try again, with fewer examples."
            ) from None
        answer: dict[str, Any] = {"predictions": [self.predictor.values_of(each) for each in found]}
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


def _check_models(models: Mapping[str, RowPipeline], batch: int, drain: float) -> None:
    """Raise :class:`ConfigError` for names, batch sizes and times that cannot be used."""
    if not models:
        raise ConfigError(_("give at least one model to serve."))
    for name in models:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                _(
                    "the model name {name!r} cannot be part of an address: use letters, digits, '_', '.' and '-'."
                ),
                name=name[:80],
            )
    if batch < 1 or not 0 <= drain < float("inf"):
        raise ConfigError(
            _("batch = {batch}, drain = {drain}; batch must be at least 1 and drain a number of seconds."),
            batch=batch, drain=drain,
        )  # fmt: skip


def _log_drift(name: str, result: DriftResult) -> None:
    if result.alarm:
        _LOG.warning("model %s: the last %d examples differ from the training rows (p = %.3g).",
                     name, result.examples, result.p_value)  # fmt: skip


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


def _names(predictor: RowPipeline) -> set[str]:
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
