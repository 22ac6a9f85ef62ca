"""The endpoint over real sockets: it answers as the predictor does, and refuses what it must, in one sentence."""

from __future__ import annotations

import contextlib
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
from dataclasses import asdict
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import labkit as lk
from labkit.inference import http, server
from labkit.inference.http import Bucket
from labkit.inference.server import BYTES, CHARACTERS, EXAMPLES, Endpoint

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
    connection = HTTPConnection("127.0.0.1", endpoint.port, timeout=60)
    try:
        connection.request(
            method, path, data, {name: value for name, value in given.items() if value is not None}
        )
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
        assert told["probability"] == pytest.approx(known.probability) and told[
            "confidence"
        ] == pytest.approx(known.confidence)
    assert not any(name.lower().startswith("access-control") for name in headers)
    assert headers["Server"].strip() == "labkit" and headers["Cache-Control"] == "no-store"


def test_health_needs_no_token_and_tells_nothing(endpoint: Endpoint) -> None:
    assert ask(endpoint, method="GET", path="/health", Authorization=None)[:2] == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("token", "status"),
    [(None, 401), ("Bearer wrong", 401), ("Basic eDp5", 401), ("Bearer ", 401), ("Bearer ü", 401)],
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
def test_what_is_no_request_is_refused_in_a_sentence(
    endpoint: Endpoint, body: Any, status: int, said: str
) -> None:
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


def test_a_client_that_says_nothing_is_let_go() -> None:
    with (
        Endpoint(Model(lambda examples: []), patience=0.2) as made,  # type: ignore[arg-type]
        socket.create_connection(("127.0.0.1", made.port), 10) as raw,
    ):
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

    classes, columns, processor = ("a", "b"), (), SimpleNamespace(modality="text")

    def __init__(self, work: Any):
        self.work = work

    values_of = staticmethod(asdict)

    def predictions(self, examples: Any, pairs: Any) -> list[Any]:
        return self.work(examples)


def test_an_accident_shows_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    def fail(examples: Any) -> None:
        raise RuntimeError("secret of the machine")

    with Endpoint(Model(fail)) as made, caplog.at_level("INFO", "labkit.inference"):  # type: ignore[arg-type]
        status, answer, _ = ask(made, {"texts": ["a text of the user"]})
    assert status == 500 and "secret" not in answer["error"] and "RuntimeError" not in answer["error"]
    assert "RuntimeError at test_server.py:" in caplog.text and "Traceback" not in caplog.text
    assert "secret of the machine" not in caplog.text and "a text of the user" not in caplog.text


def test_examples_that_do_not_fit_are_told(endpoint: Endpoint) -> None:
    def refuse(examples: Any) -> None:
        raise lk.LabkitError("examples of the shape (3,); the model reads (4,).")

    with Endpoint(Model(refuse)) as made:  # type: ignore[arg-type]
        assert ask(made, {"inputs": [[1.0, 2.0, 3.0]]})[:2] == (
            422, {"error": "these examples do not fit the model: examples of the shape (3,); the model reads (4,)."}
        )  # fmt: skip


def test_null_is_a_missing_number() -> None:
    found = server.numbers_of([[1, None], [2.5, 3]])
    assert found.dtype == np.float64 and np.isnan(found[0, 1]) and found[1].tolist() == [2.5, 3]
    assert server.numbers_of([[[0, 255]]]).dtype.kind == "i"  # the model knows the unit of its pictures


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
    monkeypatch.setattr(http.time, "monotonic", lambda: now[0])
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
    with pytest.raises(lk.LabkitError, match="16 ASCII characters without spaces"):
        Endpoint(endpoint.predictor, token="short")
    with pytest.raises(lk.LabkitError, match=r"rate = 0; must be at least 1 request"):
        Endpoint(endpoint.predictor, rate=0)
    with pytest.raises(
        lk.LabkitError, match=rf"cannot listen on 127\.0\.0\.1:{endpoint.port}: .*Choose another port"
    ):
        Endpoint(endpoint.predictor, port=endpoint.port)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_the_command_serves_until_it_is_interrupted(finished: Any, tmp_path: Path) -> None:
    folder = finished.export(tmp_path / "model")
    command = [sys.executable, "-m", "labkit", "serve", str(folder), "--port", "0"]
    token = "a token of the tests, long enough".replace(" ", "-")
    served = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "LABKIT_TOKEN": token}
    )
    try:
        assert served.stderr is not None
        lines = [served.stderr.readline() for _ in range(3)]
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/predict\n", lines[0])
        assert found and lines[1] == f"token {token}\n", lines
        connection = HTTPConnection("127.0.0.1", int(found[1]), timeout=60)
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


# --- hostile clients: over raw sockets, as no client library would write --------------------------------------------

BODY = b'{"texts": ["A SECRET text"]}'


@pytest.fixture(scope="module")
def quick() -> Iterator[Endpoint]:
    """An endpoint that answers at once with nothing."""
    with Endpoint(Model(lambda examples: []), rate=10_000) as made:  # type: ignore[arg-type]
        yield made


def raw(
    endpoint: Endpoint, head: bytes, body: bytes = b"", *, close: bool = True
) -> tuple[int, dict[str, Any]]:
    """Status and JSON of the answer to these bytes; ``TOKEN`` stands for the header with the token."""
    token = f"Authorization: Bearer {endpoint.token}".encode()
    with socket.create_connection(("127.0.0.1", endpoint.port), 10) as client:
        client.sendall(head.replace(b"\n", b"\r\n").replace(b"TOKEN", token) + body)
        if close:
            client.shutdown(socket.SHUT_WR)
        return parsed(read_all(client))


def read_all(client: socket.socket) -> bytes:
    found = b""
    while part := client.recv(2**16):
        found += part
    return found


def parsed(answer: bytes) -> tuple[int, dict[str, Any]]:
    head, _, text = answer.partition(b"\r\n\r\n")
    assert b"application/json" in head and head.startswith(b"HTTP/1.0 "), answer
    return int(head.split()[1]), json.loads(text)


POST = b"POST /predict HTTP/1.1\nHost: localhost\nTOKEN\nContent-Type: application/json\n"
LENGTH = b"Content-Length: %d\n" % len(BODY)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (POST + LENGTH + b"\n", 200),
        (POST + b"Content-Length: " + b"9" * 5000 + b"\n\n", 400),
        (POST + b"Content-Length: -1\n\n", 400),
        (POST + b"Content-Length: +28\n\n", 400),
        (POST + b"Content-Length: 2_8\n\n", 400),
        (POST + b"Content-Length: 28, 28\n\n", 400),
        (POST + "Content-Length: ٢٨\n\n".encode(), 400),
        (POST + b"Content-Length:\n\n", 400),
        (POST + b"Content-Length : 28\n\n", 400),
        (POST + b"Content-Length: 2000\n\n", 400),  # more than arrives
        (POST + LENGTH + LENGTH + b"\n", 400),
        (POST + LENGTH + b"Content-Length: 5\n\n", 400),
        (POST + LENGTH + b"content-length: 5\n\n", 400),
        (POST + LENGTH + b"Transfer-Encoding: chunked\n\n", 400),
        (POST + LENGTH + b"Transfer-Encoding: identity\n\n", 400),
        (POST + b"Transfer-Encoding: chunked\n\n", 411),
        (POST + b"\n", 411),
        (POST + LENGTH + b"Host: localhost\n\n", 400),
        (POST + LENGTH + b"Host: evil.example\n\n", 400),
        (POST + LENGTH + b"Authorization: Bearer other\n\n", 400),
        (POST + LENGTH + b"Content-Type: text/plain\n\n", 400),
        (POST.replace(b"Host: localhost\n", b"") + LENGTH + b"\n", 400),
        (POST + LENGTH + b"X: a\n b\n\n", 400),  # a folded line
        (POST + LENGTH + b"X: a\rContent-Length: 1\n\n", 400),
        (POST + LENGTH + b"X: a\x00\n\n", 400),
        (POST + LENGTH + b"no header\n\n", 400),
        (POST + LENGTH + b"X: y\n" * 101 + b"\n", 431),
        (POST + LENGTH + b"X: " + b"y" * 70_000 + b"\n\n", 431),
        (POST + LENGTH, 400),  # the headers never end
        (b"POST /" + b"a" * 70_000 + b" HTTP/1.1\n\n", 414),
        (b"GET /health\n\n", 400),
        (b"SECRET\n\n", 400),
        (b"<b>SECRET</b> /predict HTTP/1.1\nHost: localhost\n\n", 501),
        (b"GET /health HTTP/2.0\nHost: localhost\n\n", 505),
        (b"GET /health HTTP/1.1\nHost: localhost\nContent-Length: x\n\n", 400),
        (b"GET /SECRET HTTP/1.1\nHost: localhost\n\n", 404),
        (b"GET //health HTTP/1.1\nHost: localhost\n\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400),  # TLS
    ],
)  # fmt: skip
def test_ambiguous_requests_are_refused(
    quick: Endpoint,
    head: bytes,
    status: int,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level("DEBUG"):
        found, answer = raw(quick, head, BODY)
    assert found == status, answer
    assert "SECRET" not in json.dumps(answer) + caplog.text and "Traceback" not in caplog.text
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize(
    "body",
    [b'{"texts": ["a"], "texts": ["b"]}', b'{"records": [{"a": 1, "a": 2}]}', b'{"records": [{"a": 1, "\\u0061": 2}]}',
     b'{"inputs": [[NaN]]}', b'{"inputs": [[-Infinity]]}'],
)  # fmt: skip
def test_json_that_two_readers_would_read_differently_is_refused(quick: Endpoint, body: bytes) -> None:
    assert ask(quick, body)[0] == 400


def test_a_body_that_ends_early_is_not_predicted(quick: Endpoint) -> None:
    found, answer = raw(quick, POST + b"Content-Length: 100\n\n", BODY)
    assert (found, answer) == (400, {"error": "the body is shorter than Content-Length."})


def test_errors_repeat_no_value_of_the_request(endpoint: Endpoint) -> None:
    for body in (
        {"inputs": [[1.25]]}, {"inputs": [[None]]}, {"records": [{"SECRET": "SECRET"}]},
        {"records": [{"text": 3, "it's SECRET": 1.25}]}, {"texts": ["it's \"SECRET\""], "pairs": ["SECRET"]},
        {"texts": [" "]}, {"SECRET": ["SECRET"]}, {"texts": [["SECRET"]]}, {"texts": ["SECRET", None]},
    ):  # fmt: skip
        status, answer, _ = ask(endpoint, body)
        assert status in (200, 422) and not re.search(r"SECRET|1\.25|nan", json.dumps(answer)), answer


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("text 2 is 'SECRET', a str; a string is needed.", "text 2 is '…', a str; a string is needed."),
        ("no column 'age', which is read. It has: SECRET.", "no column 'age', which is read. It has: …."),
        ("row 5: SECRET of 'age' is array([nan, 1.5]).", "row 5: … of 'age' is …."),
        ('row 12 has "a SECRET" and -1.5e39, nan, 1700000000.', "row 12 has '…' and …, …, …."),
        ("examples of the shape (3, 4), int64; the model reads (4,).",) * 2,
    ],
)  # fmt: skip
def test_sentences_keep_rows_shapes_and_names_of_the_model(said: str, shown: str) -> None:
    assert server.without_values(said, [{"SECRET": "SECRET", "x": 1.5}], {"age"}) == shown


def test_a_flood_without_the_token_takes_no_quota_of_clients_with_it() -> None:
    with Endpoint(Model(lambda examples: []), rate=5) as made:  # type: ignore[arg-type]
        strangers = [ask(made, {"texts": ["x"]}, Authorization="Bearer wrong")[0] for _ in range(20)]
        assert [ask(made, {"texts": ["x"]})[0] for _ in range(5)] == [200] * 5
        assert ask(made, {"texts": ["x"]})[0] == 429
    assert set(strangers) == {401, 429}


def test_every_address_has_its_own_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    quotas = http.Quotas(2)
    first = [quotas.take(True, "192.0.2.1") for _ in range(3)]
    assert first == [True, True, False] and quotas.take(True, "192.0.2.2") and quotas.take(False, "192.0.2.1")
    taken = [quotas.take(True, f"2001:db8::{number:x}") for number in range(1, 4)]  # one network, one client
    assert taken == [True, True, False] and quotas.take(True, "2001:db8:0:1::1")
    monkeypatch.setattr(http, "CLIENTS", 50)
    for number in range(200):
        quotas.take(False, f"192.0.2.{number}")
    assert len(quotas.buckets) <= 51


def test_the_time_of_a_request_is_limited_as_a_whole() -> None:
    for head in (b"POST /pre", b"POST /predict HTTP/1.1\r\nHost: a", b""):
        with Endpoint(Model(lambda examples: []), patience=0.5) as made:  # type: ignore[arg-type]
            begun, answer = time.monotonic(), b""
            with socket.create_connection(("127.0.0.1", made.port), 10) as client:
                client.sendall(head)
                client.settimeout(0.1)
                while time.monotonic() - begun < 3:
                    with contextlib.suppress(TimeoutError, ConnectionError):
                        if not (part := client.recv(2**16)):
                            break
                        answer += part
                    with contextlib.suppress(OSError):
                        client.sendall(b"a")  # each byte comes in time
            took = time.monotonic() - begun
        assert parsed(answer)[0] == 408 and took < 2.5, (head, took)


def test_more_connections_than_allowed_get_503_at_once() -> None:
    with Endpoint(Model(lambda examples: []), connections=3, rate=1000) as made:  # type: ignore[arg-type]
        idle = [socket.create_connection(("127.0.0.1", made.port), 10) for _ in range(3)]
        begun = time.monotonic()
        found = [ask(made, {"texts": ["x" * 9000]})[::2] for _ in range(5)]
        assert [(status, headers["Retry-After"]) for status, headers in found] == [(503, "1")] * 5
        assert time.monotonic() - begun < 1 and threading.active_count() < 30
        time.sleep(http.LINGER)
        assert ask(made, {"texts": ["x"]})[0] == 200  # a silent connection had to go
        assert parsed(read_all(idle[0]))[0] == 503
        for each in idle:
            each.close()
        wait_for(lambda: not made.server.open)
        assert ask(made, {"texts": ["x"]})[0] == 200


def wait_for(condition: Any) -> None:
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_slow_clients_do_not_delay_one_with_a_token(quick: Endpoint) -> None:
    def timed() -> float:
        begun = time.monotonic()
        assert all(ask(quick, {"texts": ["x"]})[0] == 200 for _ in range(20))
        return time.monotonic() - begun

    alone = min(timed() for _ in range(2))
    slow = [socket.create_connection(("127.0.0.1", quick.port), 10) for _ in range(50)]
    for each in slow:
        each.sendall(b"POST /predict HTTP/1.1\r\nHost: ")
    assert min(timed() for _ in range(2)) < 2 * alone + 0.2
    for each in slow:
        each.close()


def test_closing_answers_what_is_in_work_and_refuses_what_arrives() -> None:
    go, begun = threading.Event(), threading.Event()

    def work(examples: Any) -> list[Any]:
        begun.set()
        go.wait(10)
        return []

    made = Endpoint(Model(work), rate=1000, patience=5)  # type: ignore[arg-type]
    with ThreadPoolExecutor(60) as pool:
        asked = [pool.submit(ask, made, {"texts": ["x"]}) for _ in range(50)]
        silent = socket.create_connection(("127.0.0.1", made.port), 10)
        wait_for(lambda: len(made.server.open) == 51 and begun.is_set())
        closing = pool.submit(made.close)
        wait_for(lambda: made.server.socket.fileno() < 0)
        with pytest.raises(ConnectionError):
            ask(made, {"texts": ["x"]})
        go.set()
        closing.result(10)
        assert [each.result()[0] for each in asked] == [200] * 50
        assert parsed(read_all(silent))[0] == 503
        silent.close()


def test_a_panic_of_a_library_is_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    class PanicException(BaseException):
        pass

    def fail(examples: Any) -> None:
        raise PanicException("A SECRET text")

    with Endpoint(Model(fail)) as made:  # type: ignore[arg-type]
        assert ask(made, {"texts": ["x"]})[0] == ask(made, {"texts": ["x"]})[0] == 500
    assert "PanicException at" in caplog.text and "SECRET" not in caplog.text


def test_a_client_that_sends_a_byte_at_a_time_wakes_its_thread_rarely(
    quick: Endpoint, monkeypatch: Any
) -> None:
    reads, read = [], http.RequestBody.readinto

    def counted(self: Any, buffer: Any) -> int:
        reads.append(count := read(self, buffer))
        return count

    monkeypatch.setattr(http.RequestBody, "readinto", counted)
    body = json.dumps({"texts": ["x"]}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {quick.token}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", quick.port), 10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head.encode() + body:
            client.sendall(bytes([byte]))
            time.sleep(0.005)
        assert parsed(read_all(client))[0] == 200
    assert sum(reads) == len(head) + len(body) and len(reads) < 20


def test_a_body_in_large_pieces_is_read_without_pauses(quick: Endpoint, monkeypatch: Any) -> None:
    monkeypatch.setattr(http, "PAUSES", (30.0,))
    assert ask(quick, b" " * 300_000 + json.dumps({"texts": ["x"]}).encode())[0] == 200
