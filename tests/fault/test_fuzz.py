"""Fuzzing: whatever bytes a file or a request has, labkit gives a right result or raises an error of its own.

Each input is read in a process of its own (``fuzz_process.py``), whose memory and time are limited: no foreign
exception, no abort, no hang. ``python -m pytest -m soak tests/fault/test_fuzz.py`` tries new inputs for
``LABKIT_FUZZ_SECONDS`` a target (600 by default), from ``LABKIT_FUZZ_SEED`` on (0); the smallest input that fails is
written to ``tests/fault/found``. What is there is tried on every run of the tests.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import shutil
import sqlite3
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from labkit.runs.store import Store

from .fuzz_inputs import INPUTS

FOUND = Path(__file__).parent / "found"
SECONDS = float(os.environ.get("LABKIT_FUZZ_SECONDS", "600"))
FIRST = int(os.environ.get("LABKIT_FUZZ_SEED", "0"))
#: Seconds for one input, on a machine that does other things as well; megabytes of the process.
PATIENCE, MEMORY = 60, 2000
#: Inputs of the short version; fewer where each of them loads a model.
SHORT = {"config.json": 12, "labkit.toml": 12, "tokenizer.json": 10, "safetensors": 15, "rows.json": 20}


class Reader:
    """The process that reads the inputs, begun again after one that has ended it."""

    def __init__(self, folder: Path):
        self.folder, self.process, self.highest = folder, None, 0
        self.outcomes: Counter[str] = Counter()

    def read(self, target: str, data: bytes) -> str:
        """What went wrong with an input; empty where nothing did."""
        process = self.process if self.process and self.process.poll() is None else self._begin()
        (self.folder / "input").write_bytes(data)
        process.stdin.write(f"{target}\n".encode())
        process.stdin.flush()
        if not select.select([process.stdout], [], [], PATIENCE)[0]:
            self.close()
            return f"no end within {PATIENCE} s"
        line = process.stdout.readline()
        if not line:
            log = (self.folder / "log").read_text("utf-8", "replace")
            return f"the process ended with code {process.wait()}: {log[-1500:]}"
        told = json.loads(line)
        self.outcomes[told["outcome"]] += 1
        self.highest = max(self.highest, told["mb"])
        if told["mb"] > MEMORY:
            self.close()
            return f"{told['mb']} MB"
        return told["said"] if told["outcome"] == "foreign" else ""

    def _begin(self) -> subprocess.Popen[bytes]:
        words = [sys.executable, str(Path(__file__).with_name("fuzz_process.py")), str(self.folder)]
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        return self.process

    def close(self) -> None:
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None


@pytest.fixture(scope="module")
def reader(finished, reviews, tmp_path_factory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("fuzz")
    finished.export(folder / "model")
    (folder / "model" / "labkit-manifest.json").unlink()  # as of another's model: nothing to compare with
    reviews.sample(40).save(folder / "rows")
    made = Reader(folder)
    yield made
    made.close()


@pytest.fixture(scope="module")
def valid(reader, finished, tmp_path_factory) -> dict[str, bytes]:
    """Target → a valid input, without the name of a folder of this machine."""
    here = str(Path(finished.experiment.data.source))
    files = {name: f"model/{name}" for name in ("config.json", "tokenizer.json", "labkit.toml")}
    files |= {"safetensors": "model/model.safetensors", "rows.json": "rows/rows.json"}
    base = {name: (reader.folder / file).read_bytes() for name, file in files.items()}
    base = {name: data.replace(here.encode(), b"reviews.csv") for name, data in base.items()}
    store = Store(tmp_path_factory.mktemp("store"))
    store.create(
        "a",
        "first",
        experiment=finished.info.experiment.replace(here, "reviews.csv"),
        summary=finished.info.summary,
    )
    store.create("b", "second", status="finished", summary={"f1": 0.5}, environment={"python": "3.11"})
    store.write("a", [(step, "train", "loss", 1 / step) for step in range(1, 9)], step=8)
    store.command("a", "set", {"learning_rate": 1e-3})
    with contextlib.closing(sqlite3.connect(store.path)) as db:
        db.execute("VACUUM INTO ?", (str(store.folder / "whole"),))
    base["runs.sqlite"] = (store.folder / "whole").read_bytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16)
    samples = struct.pack("<40h", *range(-20000, 20000, 1000))
    body = b"WAVE" + form + b"data" + struct.pack("<I", len(samples)) + samples
    base["wav"] = b"RIFF" + struct.pack("<I", len(body)) + body
    base["csv"] = b'"text","label"\n"a good film","a"\n"a dull one","b"\n'
    base["jsonl"] = b'{"text": "a good film", "label": "a"}\n{"text": "a dull one", "label": "b"}\n'
    content = b'{"texts": ["a film"]}'
    base["http"] = (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer TOKEN\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)
    )
    return base


def search(
    reader: Reader, target: str, base: bytes, examples: int, number: int | None = None
) -> dict[str, bytes]:
    """What went wrong with so many inputs, each fault with the smallest input that shows it."""
    faults: dict[str, bytes] = {}

    @settings(max_examples=examples, deadline=None, database=None, derandomize=number is None,
              suppress_health_check=list(HealthCheck), phases=[Phase.generate])  # fmt: skip
    @given(data=INPUTS[target](base))
    def one(data: bytes) -> None:
        if (problem := reader.read(target, data)) and len(data) < len(faults.get(problem, data + b" ")):
            faults[problem] = data

    (one if number is None else seed(number)(one))()
    return faults


def keep(target: str, faults: dict[str, bytes]) -> None:
    """Write the inputs of faults where they are tried from now on, and fail."""
    for data in faults.values():
        FOUND.mkdir(exist_ok=True)
        (FOUND / f"{target}-{hashlib.sha256(data).hexdigest()[:8]}").write_bytes(data)
    assert not faults, "\n\n".join(faults)


@pytest.mark.parametrize("target", INPUTS)
def test_fuzz_valid_inputs_are_read(target, reader, valid):
    before = reader.outcomes["right"]
    assert reader.read(target, valid[target]) == "" and reader.outcomes["right"] == before + 1


@pytest.mark.parametrize("path", sorted(FOUND.glob("*")), ids=lambda path: path.name)
def test_fuzz_inputs_that_were_found(path, reader):
    assert reader.read(path.name.rpartition("-")[0], path.read_bytes()) == ""


@pytest.mark.parametrize("target", INPUTS)
def test_fuzz_some_inputs(target, reader, valid):
    keep(target, search(reader, target, valid[target], SHORT.get(target, 40)))


@pytest.mark.soak
@pytest.mark.parametrize("target", INPUTS)
def test_fuzz_for_long(target, reader, valid):
    reader.close()
    reader.outcomes.clear()
    faults: dict[str, bytes] = {}
    reader.highest, end, number = 0, time.monotonic() + SECONDS, FIRST
    while time.monotonic() < end:
        for fault, data in search(reader, target, valid[target], 100, number).items():
            faults[fault] = min(data, faults.get(fault, data), key=len)
        shutil.rmtree(reader.folder / "tried" / "saved", ignore_errors=True)
        number += 1
    print(f"\n{target}: seeds {FIRST} to {number - 1}, {dict(reader.outcomes)}, {reader.highest} MB")
    keep(target, faults)
