"""Serving beyond one request: batches, several models, metrics, OpenAPI, health, reload, drift, files for others."""

from __future__ import annotations

import ast
import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families

import labkit as lk
from labkit.inference.predictor import Predictions
from labkit.inference.request_batches import RequestBatches, group_of
from labkit.inference.server import Endpoint

TEXTS = ["A warm, funny and beautiful film.", "Two hours that I will not get back."]


class Model:
    """Answers as told."""

    classes, columns, processor = ("a", "b"), (), SimpleNamespace(modality="text")

    def __init__(self, work: Any):
        self.work = work

    values_of = staticmethod(asdict)

    def predictions(self, examples: Any, pairs: Any) -> Any:
        return self.work(examples)


def lengths(examples: Any) -> list[Any]:
    """A prediction that shows of which text it is."""
    return [lk.inference.predictor.NumericPrediction({"length": len(text)}) for text in examples]


def ask(
    endpoint: Endpoint, path: str = "/predict", body: Any = None, token: bool = True
) -> tuple[int, str, dict]:
    connection = HTTPConnection("127.0.0.1", endpoint.port, timeout=60)
    headers = {"Content-Type": "application/json"} | (
        {"Authorization": f"Bearer {endpoint.token}"} if token else {}
    )
    try:
        connection.request(
            "GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers
        )
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


def figures(endpoint: Endpoint) -> dict[tuple[str, ...], float]:
    """The metrics as the client library of Prometheus reads them."""
    status, text, headers = ask(endpoint, "/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *(f"{key}={value}" for key, value in sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


# --- batches ------------------------------------------------------------------------------------------------------


@pytest.fixture
def held() -> Iterator[tuple[list[int], threading.Event, RequestBatches]]:
    """A queue whose first batch waits for an event; the sizes of all batches."""
    sizes, go = [], threading.Event()

    def predict(examples: Any, pairs: Any) -> Any:
        sizes.append(len(examples))
        assert go.wait(30)
        if any(text == "bad" for text in examples):
            raise ValueError("bad")
        return Predictions(
            [f"{text}{pair}" for text, pair in zip(examples, pairs or [""] * len(examples), strict=True)],
            notes=("one was long",) if "long" in list(examples) else (),
        )

    queue = RequestBatches(predict, 4)
    yield sizes, go, queue
    go.set()
    queue.close()


def test_requests_that_wait_share_a_batch_and_each_gets_its_own_answers(held: Any) -> None:
    sizes, go, queue = held
    first = queue.submit(["0"], None)
    while not sizes:
        time.sleep(0.001)
    rest = [queue.submit(texts, None) for texts in (["1"], ["2", "3"], ["4"], ["5"] * 6, ["6"])]
    pair = queue.submit(["7"], ["x"])
    cancelled = queue.submit(["8"], ["y"])
    assert cancelled.cancel() and len(queue) == 7
    go.set()
    assert [each.result(30) for each in (first, *rest, pair)] == [
        ["0"], ["1"], ["2", "3"], ["4"], ["5"] * 6, ["6"], ["7x"]
    ]  # fmt: skip
    assert sizes == [1, 4, 6, 1, 1]


def test_a_request_at_fault_fails_alone_and_notes_stay_with_their_request(held: Any) -> None:
    _sizes, go, queue = held
    first = queue.submit(["0"], None)
    good, bad, long = (queue.submit([text], None) for text in ("1", "bad", "long"))
    go.set()
    assert first.result(30) == ["0"] and good.result(30) == ["1"] and not good.result().notes
    assert long.result(30).notes == ("one was long",)
    with pytest.raises(ValueError, match="bad"):
        bad.result(30)


def test_tables_share_a_batch_only_with_equal_columns_and_types() -> None:
    assert group_of([{"a": 1}, {"a": 2}], None) == group_of([{"a": 3}], None) != group_of([{"a": "3"}], None)
    assert group_of([{"a": 1}, {"a": 2.5}], None) != group_of([{"a": 1}, {"a": 2.5}], None)
    assert (
        group_of(np.zeros((2, 3)), None)
        == group_of(np.ones((1, 3)), None)
        != group_of(np.zeros((2, 4)), None)
    )


def test_a_batch_gives_the_answers_of_single_requests(finished: Any) -> None:
    texts = [f"{text} {number}" for number, text in enumerate(TEXTS * 6)]
    with Endpoint(finished.predictor, rate=10_000, patience=120) as made, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda text: json.loads(ask(made, body={"texts": [text]})[1]), texts))
        found = figures(made)
    alone = [finished.predict(text) for text in texts]
    for answer, known in zip(answers, alone, strict=True):
        assert answer["predictions"][0]["probability"] == pytest.approx(known.probability, abs=1e-6)
    assert found["labkit_batched_requests_total", "model=model"] == 12
    assert found["labkit_batch_examples_sum", "model=model"] == 12
    assert found["labkit_http_requests_total", "path=/predict", "status=200"] == 12


# --- several models, metrics, health, OpenAPI -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def several() -> Iterator[Endpoint]:
    models = {"first": Model(lengths), "second.v2": Model(lambda texts: lengths(["x" * 9 for _ in texts]))}
    with Endpoint(models, rate=10_000) as made:  # type: ignore[arg-type]
        yield made


def test_every_model_has_a_path_and_the_first_answers_predict(several: Endpoint) -> None:
    def value(path: str) -> float:
        status, text, _ = ask(several, path, {"texts": ["four"]})
        assert status == 200, text
        return json.loads(text)["predictions"][0]["value"]["length"]

    assert [value(path) for path in ("/predict", "/models/first/predict", "/models/second.v2/predict")] == [
        4,
        4,
        9,
    ]
    assert ask(several, "/models/third/predict", {"texts": ["x"]})[0] == 404
    listed = json.loads(ask(several, "/models")[1])["models"]
    assert [each["name"] for each in listed] == ["first", "second.v2"] and listed[0]["classes"] == ["a", "b"]
    with pytest.raises(lk.LabkitError, match="cannot be part of an address"):
        Endpoint({"a/b": Model(lengths)})  # type: ignore[dict-item]


@pytest.mark.parametrize("path", ["/metrics", "/models", "/openapi.json"])
def test_what_tells_of_the_models_needs_the_token(several: Endpoint, path: str) -> None:
    assert ask(several, path, token=False)[0] == 401 and ask(several, path)[0] == 200
    assert ask(several, path, {})[0] == 405


def test_figures_name_known_paths_only(several: Endpoint) -> None:
    ask(several, "/SECRET")
    found = figures(several)
    assert found["labkit_http_requests_total", "path=other", "status=404"] >= 1
    assert not any("SECRET" in part for key in found for part in key)
    assert found["labkit_ready",] == 1 and found["labkit_connections",] >= 1
    buckets = [value for key, value in found.items() if key[0] == "labkit_http_request_seconds_bucket"]
    assert buckets and found["labkit_waiting_requests", "model=first"] == 0


def test_the_document_describes_the_requests_that_are_accepted(several: Endpoint) -> None:
    made = json.loads(ask(several, "/openapi.json")[1])
    assert made["openapi"] == "3.1.0" and "/models/second.v2/predict" in made["paths"]
    request = made["components"]["schemas"]["Request"]
    Draft202012Validator.check_schema(request)
    check = Draft202012Validator(request).is_valid
    for body, status in (
        ({"texts": ["a"]}, 200), ({"texts": ["a"], "pairs": ["b"]}, 200), ({"records": [{"text": "a"}]}, 200),
        ({"texts": []}, 422), ({"texts": [3]}, 422), ({"texts": ["a"], "more": 1}, 422), ({}, 422),
        ({"texts": ["x" * 10_001]}, 422),
    ):  # fmt: skip
        assert check(body) == (status == 200) and ask(several, body=body)[0] == status, body
    answer = made["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    Draft202012Validator(answer).validate(json.loads(ask(several, body={"texts": ["a"]})[1]))
    for path in made["paths"]:
        assert several.route(path) is not None


def test_the_page_loads_nothing_from_elsewhere(several: Endpoint) -> None:
    status, text, headers = ask(several, "/docs", token=False)
    assert status == 200 and headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert not re.search(r"(?:src|href)\s*=|https?://|@import|url\(", text)
    assert "first" not in text and several.token not in text


def test_a_closing_endpoint_answers_while_it_drains() -> None:
    made = Endpoint(Model(lengths), rate=1000, drain=1.0)  # type: ignore[arg-type]
    assert ask(made, "/health/ready", token=False)[0] == 200
    closing = threading.Thread(target=made.close)
    closing.start()
    until = time.monotonic() + 5
    while ask(made, "/health/ready", token=False)[0] != 503:
        assert time.monotonic() < until
    assert ask(made, body={"texts": ["x"]})[0] == 200 and ask(made, "/health/live", token=False)[0] == 200
    closing.join()
    with pytest.raises(ConnectionError):
        ask(made, "/health/live")


# --- reload -------------------------------------------------------------------------------------------------------


def test_a_reload_replaces_the_model_and_a_failed_one_keeps_it() -> None:
    loads = iter([Model(lambda texts: lengths(["xx"])), lk.LabkitError("it is damaged.")])

    def load(name: str) -> Any:
        found = next(loads)
        if isinstance(found, Exception):
            raise found
        return found

    def value(made: Endpoint) -> float:
        return json.loads(ask(made, body={"texts": ["four"]})[1])["predictions"][0]["value"]["length"]

    with Endpoint({"m": Model(lengths)}, rate=1000, load=load) as made:  # type: ignore[dict-item]
        assert value(made) == 4
        made.reload()
        assert value(made) == 2
        with pytest.raises(lk.LabkitError, match="damaged"):
            made.reload("m")
        assert value(made) == 2
        found = figures(made)
        assert found["labkit_model_reloads_total", "model=m", "result=ok"] == 1
        assert found["labkit_model_reloads_total", "model=m", "result=failed"] == 1
        with pytest.raises(lk.LabkitError, match="no model 'x'"):
            made.reload("x")


def test_a_folder_is_read_again(finished: Any, tmp_path: Path) -> None:
    folder = finished.export(tmp_path / "model", apps=("docker", "gradio"))
    with lk.serve({"reviews": folder}, rate=1000) as made:
        before = made.models["reviews"].predictor
        made.reload()
        assert made.models["reviews"].predictor is not before
        assert ask(made, "/models/reviews/predict", {"texts": TEXTS})[0] == 200
    with lk.serve(finished.predictor) as made, pytest.raises(lk.LabkitError, match="given as an object"):
        made.reload()
    with pytest.raises(lk.LabkitError, match="has no training rows; give them"):
        lk.serve(folder, drift=True)
    _check_dockerfile((folder / "Dockerfile").read_text("utf-8"))
    tree = ast.parse((folder / "app.py").read_text("utf-8"))
    assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] == ["predict"]


def _check_dockerfile(text: str) -> None:
    """Instructions, their order and what hadolint would complain of: a tag, no root, no cache, JSON commands."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    words = [line.split(" ", 1) for line in lines]
    names = [name for name, _ in words]
    known = {
        "FROM",
        "ARG",
        "RUN",
        "WORKDIR",
        "COPY",
        "USER",
        "ENV",
        "EXPOSE",
        "HEALTHCHECK",
        "STOPSIGNAL",
        "CMD",
    }
    assert set(names) <= known and names[0] == "FROM" and names[-1] == "CMD" and names.count("CMD") == 1
    values = dict(words)
    assert ":" in values["FROM"] and not values["FROM"].endswith(":latest")
    assert values["USER"] == "labkit" and names.index("USER") > max(
        i for i, n in enumerate(names) if n == "RUN"
    )
    command = json.loads(values["CMD"])
    assert (
        command[:3] == ["labkit", "serve", "model"]
        and command[command.index("--port") + 1] == values["EXPOSE"]
    )
    health = json.loads(values["HEALTHCHECK"].partition("CMD ")[2])
    compile(health[-1], "health", "exec")
    assert values["EXPOSE"] in health[-1] and "--no-cache-dir" in joined


def test_apps_that_cannot_be_written_are_refused(finished: Any, tmp_path: Path) -> None:
    with pytest.raises(lk.LabkitError, match=r"unknown app 'dcker'.*Did you mean 'docker'"):
        finished.export(tmp_path / "model", apps=["dcker"])
    assert not (tmp_path / "model").exists()


# --- drift --------------------------------------------------------------------------------------------------------


def test_drift_is_seen_in_other_texts_and_not_in_the_same(finished: Any) -> None:
    other = [f"The invoice {number} of the server is due on Monday at port {number}." for number in range(40)]
    result = finished.drift(other)
    assert result.alarm and result.p_value < 0.01 and str(result).startswith("drift: p = 0.0025, n = 40")
    assert not finished.drift(finished.rows["validation"]["text"]).alarm
    with pytest.raises(lk.LabkitError, match="at least 20 examples, not 2"):
        finished.drift(TEXTS)


def test_the_endpoint_reports_drift_of_what_it_has_predicted(finished: Any, caplog: Any) -> None:
    other = [f"The invoice {number} is due on port {number}." for number in range(50)]
    with lk.serve(finished, drift=True, rate=1000) as made:
        assert ask(made, body={"texts": other})[0] == ask(made, body={"texts": other})[0] == 200
        until = time.monotonic() + 30
        while figures(made)["labkit_drift_windows", "model=model"] < 1:
            assert time.monotonic() < until
        found = figures(made)
    assert (
        found["labkit_drift_alarms", "model=model"] == 1
        and found["labkit_drift_p_value", "model=model"] < 0.01
    )
    assert "differ from the training rows" in caplog.text and "invoice" not in caplog.text


def test_drift_of_features_by_an_independent_computation() -> None:
    """The energy distance and its permutation p-value against SciPy's definition of the distance."""
    from scipy.spatial.distance import cdist

    from labkit.inference.drift import _distances, _energy

    random = np.random.default_rng(0)
    first, second = (
        random.normal(size=(30, 3)).astype(np.float32),
        random.normal(1, 1, (20, 3)).astype(np.float32),
    )
    both = np.concatenate([first, second])
    chosen = np.r_[np.zeros(30), np.ones(20)].astype(np.float32)[:, None]
    expected = 2 * cdist(first, second).mean() - cdist(first, first).mean() - cdist(second, second).mean()
    assert _energy(_distances(both, both), chosen)[0] == pytest.approx(expected, rel=1e-4)
