"""What serving must be worth: 200 concurrent clients, nothing lost at SIGTERM, and the rates of the drift test.

``python -m pytest -m soak tests/evidence/test_serving.py -s`` prints the figures.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import labkit as lk
from labkit.inference.drift import DriftTest, features_of

pytestmark = [pytest.mark.soak, pytest.mark.slow]
TOKEN = "a-token-of-the-tests-long-enough"
CLIENTS, EACH = 200, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM with six layers, trained for a few steps on short reviews: it takes as long as a good model."""
    work = tmp_path_factory.mktemp("serving")
    rows = lk.load(Path(__file__).parents[1] / "reviews.csv")
    model = lk.models["bert"](preset="minilm-l6")
    run = lk.fit(rows, model, epochs=1, max_length=32, batch_size=32, folder=work / "lab", background=False)
    return run.export(work / "model")


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command in a process of its own, and its port."""
    command = [sys.executable, "-m", "labkit", "serve", str(folder), "--port", "0", "--rate", "1e9", *options]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "LABKIT_TOKEN": TOKEN}
    )
    try:
        assert process.stderr is not None
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/predict\n", process.stderr.readline())
        assert found is not None
        yield process, int(found[1])
    finally:
        process.kill()
        process.communicate()


def ask(port: int, text: str) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection.request("POST", "/predict", json.dumps({"texts": [text]}), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def load(port: int) -> tuple[float, list[float]]:
    """Requests a second, and the seconds of each, of 200 clients that send their requests one after another."""
    took: list[float] = []

    def client(number: int) -> None:
        for turn in range(EACH):
            begun = time.monotonic()
            status, answer = ask(port, f"A film that number {number} has seen {turn} times.")
            took.append(time.monotonic() - begun)
            assert status == 200, answer

    begun = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    return len(took) / (time.monotonic() - begun), sorted(took)


def test_two_hundred_clients_with_and_without_batches(folder: Path, record_property: Any) -> None:
    rates: dict[str, list[float]] = {"32": [], "1": []}
    options = ("--patience", "120")
    with (
        served(folder, *options, "--batch", "32") as (_, many),
        served(folder, *options, "--batch", "1") as (_, one),
    ):
        ports = {"32": many, "1": one}
        for port in ports.values():
            load(port)  # compiles
        for _ in range(3):  # in turn, as the machine may be shared
            for batch, port in ports.items():
                rate, took = load(port)
                rates[batch].append(rate)
                p50, p99 = (1000 * took[int(share * len(took))] for share in (0.5, 0.99))
                print(f"batch {batch}: {rate:.0f} requests/s, p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    ratio = float(np.median(np.divide(rates["32"], rates["1"])))
    record_property("ratio", ratio)
    print(f"throughput with batches / without: {ratio:.2f}")
    assert ratio > 1.2


def test_nothing_is_lost_at_sigterm(folder: Path) -> None:
    found: Counter[str] = Counter()
    lock, stop = threading.Lock(), threading.Event()

    def client(number: int, port: int) -> None:
        while not stop.is_set():
            try:
                outcome = str(ask(port, f"A film that number {number} has seen.")[0])
            except ConnectionRefusedError:
                outcome = "refused"
                stop.set()
            except (OSError, HTTPException, ValueError) as error:
                outcome = f"lost: {error!r}"
            with lock:
                found[outcome] += 1

    with served(folder, "--patience", "120") as (process, port), ThreadPoolExecutor(CLIENTS) as pool:
        ask(port, "warm up")
        clients = [pool.submit(client, number, port) for number in range(CLIENTS)]
        time.sleep(20)
        process.send_signal(signal.SIGTERM)
        for each in clients:
            each.result(300)
        assert process.wait(60) == 0
    print(dict(found))
    assert set(found) <= {"200", "503", "refused"} and found["200"] > CLIENTS


def test_the_rates_of_the_drift_test(tmp_path: Path, record_property: Any) -> None:
    """200 windows of 100 texts: of held-out reviews of the same source, and of another domain."""
    rows = lk.load("movie-reviews").split(validation=0.3, test=0.1, seed=0)
    run = lk.fit(rows, lk.models["textcnn"](preset="tiny"), epochs=1, folder=tmp_path, background=False)
    other = lk.load("austen", label=False)
    random = np.random.default_rng(1)
    for name, fixed in (("one reference, as an endpoint has", True), ("a new reference a draw", False)):
        kept = DriftTest(run.predictor, run.rows, seed=0)
        alarms = {}
        for domain, texts in (
            ("same", run.rows["validation"]["text"]), ("other", next(iter(other.splits.values()))["text"])
        ):  # fmt: skip
            features = features_of(run.predictor, list(texts))
            results = []
            for draw in range(200):
                test = kept if fixed else DriftTest(run.predictor, run.rows, seed=draw)
                results.append(test.test(features[random.choice(len(features), 100, replace=False)]).alarm)
            alarms[domain] = float(np.mean(results))
        print(
            f"{name}: alarms {alarms['same']:.1%} on the same distribution, {alarms['other']:.1%} on another domain"
        )
        record_property(name, alarms)
        assert alarms["other"] >= 0.95 and alarms["same"] <= 0.08
