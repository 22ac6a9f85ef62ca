"""The endpoint over real sockets: it answers as the predictor does, and refuses what it must, in one sentence."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import labkit as lk
from labkit.ship import server
from labkit.ship.server import BYTES, CHARACTERS, EXAMPLES, Bucket, Endpoint

TEXTS = ["A warm, funny and beautiful film.", "Two hours that I will not get back."]


@pytest.fixture(scope="module")
def endpoint(finished: Any) -> Iterator[Endpoint]:
    with Endpoint(finished.predictor, rate=10_000) as made:
        yield made


def ask(
    endpoint: Endpoint, body: Any = None, method: str = "POST", path: str = "/predict", **headers: str | None
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, JSON and headers of a request; a header given as None is left out."""
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    usual = {"Authorization": f"Bearer {endpoint.token}", "Content-Type": "application/json"}
    given = usual | {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=60)
    try:
        connection.request(method, path, data, {name: value for name, value in given.items() if value is not None})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else {}, dict(answer.getheaders())
    finally:
        connection.close()


def test_it_answers_as_the_predictor_does(endpoint: Endpoint, finished: Any) -> None:
    status, answer, headers = ask(endpoint, {"texts": TEXTS})
    assert status == 200
    for told, known in zip(answer["predictions"], finished.predict(TEXTS), strict=True):
        assert told["label"] == known.label
        assert told["probability"] == pytest.approx(known.probability) and told["confidence"] == pytest.approx(
            known.confidence
        )
    assert not any(name.lower().startswith("access-control") for name in headers)
    assert headers["Server"].strip() == "labkit" and headers["Cache-Control"] == "no-store"


def test_health_needs_no_token_and_tells_nothing(endpoint: Endpoint) -> None:
    assert ask(endpoint, method="GET", path="/health", Authorization=None)[:2] == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("token", "status"), [(None, 401), ("Bearer wrong", 401), ("Basic eDp5", 401), ("Bearer ", 401), ("Bearer ü", 401)]
)
def test_a_stranger_is_refused(endpoint: Endpoint, token: str | None, status: int) -> None:
    found, answer, headers = ask(endpoint, {"texts": TEXTS}, Authorization=token)
    assert found == status and "Authorization" in answer["error"] and headers["WWW-Authenticate"] == "Bearer"
    assert endpoint.token not in json.dumps(answer)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::2]"])
def test_another_name_is_refused(endpoint: Endpoint, host: str) -> None:
    assert ask(endpoint, {"texts": TEXTS}, Host=host)[0] == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:80", "[::1]"])
def test_its_own_names_are_not(endpoint: Endpoint, host: str) -> None:
    assert ask(endpoint, {"texts": TEXTS[:1]}, Host=host)[0] == 200


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "not valid JSON"),
        (b"\xff", 400, "not valid JSON"),
        (b"[" * 100_000, 400, "not valid JSON"),
        (b"[]", 422, "a request is"),
        ({}, 422, "a request is"),
        ({"texts": TEXTS, "model": "x"}, 422, "a request is"),
        ({"texts": "one"}, 422, '"texts" must be a list'),
        ({"texts": []}, 422, '"texts" must be a list'),
        ({"texts": ["x"] * (EXAMPLES + 1)}, 422, f"1 to {EXAMPLES}"),
        ({"texts": ["x" * (CHARACTERS + 1)]}, 422, "at most 10,000 characters"),
        ({"texts": [3]}, 422, "must be a string"),
        ({"texts": TEXTS, "pairs": ["x"]}, 422, "2 texts and 1 pairs"),
        ({"inputs": ["a"]}, 422, "must be numbers"),
        ({"inputs": [[1], [1, 2]]}, 422, "must be numbers"),
        (b'{"texts": ["' + b"x" * BYTES + b'"]}', 413, "1,048,576 bytes"),
    ],
)
def test_what_is_no_request_is_refused_in_a_sentence(endpoint: Endpoint, body: Any, status: int, said: str) -> None:
    found, answer, _ = ask(endpoint, body)
    assert found == status and said in answer["error"] and "Traceback" not in answer["error"]


def test_other_ways_in_are_closed(endpoint: Endpoint) -> None:
    assert ask(endpoint, {"texts": TEXTS}, path="/")[0] == 404
    assert ask(endpoint, {"texts": TEXTS}, path="/../etc/passwd")[0] == 404
    assert ask(endpoint, {"texts": TEXTS}, Content_Type="text/plain")[0] == 415
    assert ask(endpoint, method="GET")[0] == 405
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH"):
        assert ask(endpoint, method=method)[0] == 405
    with socket.create_connection(("127.0.0.1", endpoint.port), 10) as raw:
        raw.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert b" 411 " in raw.recv(200)


def test_a_client_that_says_nothing_is_let_go(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server._Handler, "timeout", 0.2)
    with socket.create_connection(("127.0.0.1", endpoint.port), 10) as raw:
        raw.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
        assert b" 408 " in raw.recv(200)


def test_two_hundred_at_once_are_all_answered(endpoint: Endpoint, record_property: Any) -> None:
    begun, took = time.monotonic(), []

    def one(number: int) -> tuple[int, dict[str, Any], Any]:
        answer = ask(endpoint, {"texts": [TEXTS[number % 2]]})
        took.append(time.monotonic() - begun)
        return answer

    with ThreadPoolExecutor(200) as pool:
        found = list(pool.map(one, range(200)))
    record_property("p99", sorted(took)[197])  # seconds, from when all were sent
    print(f"p99 of 200 at once: {sorted(took)[197]:.3f} s")
    assert {status for status, _, _ in found} == {200}
    labels = [answer["predictions"][0]["label"] for _, answer, _ in found]
    assert len(set(labels[::2])) == len(set(labels[1::2])) == 1


class Model:
    """Answers as told."""

    classes = ("a", "b")

    def __init__(self, work: Any):
        self.work = work

    def predict(self, examples: Any, pairs: Any) -> list[Any]:
        return self.work(examples)


def test_an_accident_shows_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    def fail(examples: Any) -> None:
        raise RuntimeError("secret of the machine")

    with Endpoint(Model(fail)) as made, caplog.at_level("INFO", "labkit.ship"):  # type: ignore[arg-type]
        status, answer, _ = ask(made, {"texts": ["a text of the user"]})
    assert status == 500 and "secret" not in answer["error"] and "RuntimeError" not in answer["error"]
    assert "secret of the machine" in caplog.text and "a text of the user" not in caplog.text


def test_examples_that_do_not_fit_are_told(endpoint: Endpoint) -> None:
    def refuse(examples: Any) -> None:
        raise lk.LabkitError("examples of the shape (3,); the model reads (4,).")

    with Endpoint(Model(refuse)) as made:  # type: ignore[arg-type]
        assert ask(made, {"inputs": [[1.0, 2.0, 3.0]]})[:2] == (
            422, {"error": "these examples do not fit the model: examples of the shape (3,); the model reads (4,)."}
        )  # fmt: skip


def test_null_is_a_missing_number() -> None:
    found = server._numbers([[1, None], [2.5, 3]])
    assert found.dtype == np.float64 and np.isnan(found[0, 1]) and found[1].tolist() == [2.5, 3]
    assert server._numbers([[[0, 255]]]).dtype.kind == "i"  # the model knows the unit of its pictures


def test_a_slow_model_does_not_hold_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    monkeypatch.setattr(server, "PATIENCE", 0.2)
    with Endpoint(Model(lambda examples: go.wait(30) and [])) as made:  # type: ignore[arg-type]
        status, answer, _ = ask(made, {"texts": ["x"]})
        go.set()
    assert status == 503 and "no answer within 0.2 seconds" in answer["error"]


def test_too_many_requests_are_told_to_wait() -> None:
    with Endpoint(Model(lambda examples: []), rate=3) as made:  # type: ignore[arg-type]
        found = [ask(made, {"texts": ["x"]}) for _ in range(8)]
    assert [status for status, _, _ in found[:3]] == [200] * 3
    late = [headers for status, _, headers in found if status == 429]
    assert late and all(headers["Retry-After"] == "1" for headers in late)


def test_the_bucket_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(server.time, "monotonic", lambda: now[0])
    bucket = Bucket(10)
    assert [bucket.take() for _ in range(11)] == [True] * 10 + [False]
    now[0] = 0.2
    assert [bucket.take() for _ in range(3)] == [True, True, False]


def test_it_listens_on_this_machine_alone_with_a_token_of_its_own(finished: Any) -> None:
    with lk.serve(finished) as first, lk.serve(finished) as second:
        assert first.host == "127.0.0.1" and first.url == f"http://127.0.0.1:{first.port}"
        assert len(first.token) >= 32 and first.token != second.token
        assert repr(first) == f"<endpoint {first.url}/predict: negative, positive>"
        assert re.fullmatch(r"[\w-]+", first.token) and first.token not in repr(first)
    with pytest.raises(ConnectionError):
        ask(first, {"texts": TEXTS})


def test_settings_that_cannot_be_used_are_refused(endpoint: Endpoint) -> None:
    with pytest.raises(lk.LabkitError, match="16 characters or more"):
        Endpoint(endpoint.predictor, token="short")
    with pytest.raises(lk.LabkitError, match=r"rate = 0; at least one request"):
        Endpoint(endpoint.predictor, rate=0)
    with pytest.raises(lk.LabkitError, match=rf"cannot listen on 127\.0\.0\.1:{endpoint.port}: .*Name another port"):
        Endpoint(endpoint.predictor, port=endpoint.port)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_the_command_serves_until_it_is_interrupted(finished: Any, tmp_path: Path) -> None:
    folder = finished.export(tmp_path / "model")
    command = [sys.executable, "-m", "labkit", "serve", str(folder), "--port", "0"]
    token = "a token of the tests, long enough".replace(" ", "-")
    served = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "LABKIT_TOKEN": token})
    try:
        assert served.stderr is not None
        lines = [served.stderr.readline() for _ in range(3)]
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/predict\n", lines[0])
        assert found and lines[1] == f"token {token}\n", lines
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=60)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request("POST", "/predict", json.dumps({"texts": TEXTS}), headers)
        labels = [each["label"] for each in json.load(connection.getresponse())["predictions"]]
        connection.close()
        assert labels == [each.label for each in finished.predict(TEXTS)]
        served.send_signal(signal.SIGINT)
        assert served.wait(30) == 130
    finally:
        served.kill()
        served.communicate()
