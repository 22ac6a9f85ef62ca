"""The process in which fuzzed inputs are read by labkit: ``python tests/fault/fuzz_process.py FOLDER``.

A line on the standard input names a target; its input is the file ``FOLDER/input``. The answer is one line of JSON:
the outcome (``right``, ``refused`` by an error of labkit, or ``foreign``), what was raised, and the peak of memory. The
address space is limited, so that what takes too much memory fails here and nowhere else.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import os
import re
import resource
import shutil
import socket
import sqlite3
import sys
import traceback
import wave
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import psutil
from flax import nnx

import labkit as lk
from labkit.core.config import dumps, loads
from labkit.core.errors import LabkitError
from labkit.data.io.audio import read_wav
from labkit.inference.server import Endpoint
from labkit.models.weights import Tensors
from labkit.runs.handle import code_of, data_code
from labkit.runs.store import Store
from labkit.tasks.classify import Classify
from labkit.train.experiment import DataConfig, Experiment

#: Bytes that the inputs may take beyond what the process has after its imports.
MEMORY = 1_400_000_000
TEXTS = ["A warm, funny film.", "水 😀 [MASK] é\n", "x" * 200]
FOLDER = Path(sys.argv[1]) if __name__ == "__main__" else Path()


def fresh(name: str, file: str, data: bytes) -> Path:
    """A copy of a valid folder in which one file has this content."""
    place = FOLDER / "tried" / f"{name} {file}"
    if not place.exists():
        shutil.copytree(FOLDER / name, place)
    (place / file).write_bytes(data)
    return place


def rows_json(data: bytes) -> None:
    rows = lk.load(str(fresh("rows", "rows.json", data)))
    assert sum(map(len, rows.splits.values())) == len(rows) and len(rows.fingerprint) == 64
    for name, split in rows.splits.items():
        assert len(rows.known_of(split)) == len(split) and len(rows.head(3, name)) <= 3
    assert repr(rows) and rows._repr_mimebundle_() and rows.report.to_pandas() is not None
    compile(data_code(DataConfig.of(rows)), "code", "exec")
    again = lk.load(str(rows.sample(5).save(FOLDER / "tried" / "saved")))
    assert len(again) <= len(rows)


def config_json(data: bytes) -> None:
    place = fresh("model", "config.json", data)
    with contextlib.suppress(LabkitError):
        config = lk.models["bert"](weights=str(place))
        config.load(config.build(nnx.Rngs(0)), place)
    known(lk.Predictor(place))


def tokenizer_json(data: bytes) -> None:
    place = fresh("model", "tokenizer.json", data)
    made = lk.Tokenizer.load(place)
    tokens = made.encode(TEXTS, max_length=32)
    assert ((tokens.ids >= 0) & (tokens.ids < made.vocab_size)).all() and len(tokens) == len(TEXTS)
    for start, end in zip(tokens.offsets, tokens.offsets[1:], strict=False):
        assert isinstance(made.decode(tokens.ids[start:end]), str)
    made.save(saved := FOLDER / "tried" / "tokenizer")
    assert (lk.Tokenizer.load(saved).encode(TEXTS, max_length=32).ids == tokens.ids).all()
    known(lk.Predictor(place))


def labkit_toml(data: bytes) -> None:
    place = fresh("model", "labkit.toml", data)
    experiment = loads(Experiment, data.decode()) if is_text(data) else None
    if experiment is not None:
        assert loads(Experiment, dumps(experiment)) == experiment
        compile(code_of(experiment), "code", "exec")
    known(lk.Predictor(place))


def known(predictor: lk.Predictor) -> None:
    """Assert that a model gives probabilities."""
    found = predictor.probabilities(TEXTS[:1])
    assert found.shape == (1, len(predictor.classes)) and np.isfinite(found).all()
    if type(predictor.experiment.task) is Classify:
        assert abs(found.sum() - 1) < 1e-3


def safetensors_header(data: bytes) -> None:
    from safetensors.numpy import load_file

    place = fresh("model", "model.safetensors", data)
    read = dict(Tensors(place).items())
    if all(array.dtype.kind in "fiub" for array in read.values()):
        for name, array in load_file(place / "model.safetensors").items():
            assert read[name].shape == array.shape and read[name].tobytes() == array.tobytes()
    known(lk.Predictor(place))


def runs_sqlite(data: bytes) -> None:
    place = FOLDER / "tried" / "lab"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (place / "runs.sqlite").write_bytes(data)
    store = Store(place)
    runs = lk.runs(place)
    assert repr(runs) and runs._repr_html_() and runs.to_pandas() is not None
    for info in store.runs():
        store.records(info.id)
        assert repr(lk.open_run(info.id, place))


def csv_table(data: bytes) -> None:
    path = FOLDER / "tried" / "table.csv"
    path.write_bytes(data)
    answers(lambda: loaded(path, features=True))
    rows = loaded(path)
    if (records := canonical(data)) is not None:
        compared(rows, {number: record[0] for number, record in enumerate(records)})


def jsonl(data: bytes) -> None:
    path = FOLDER / "tried" / "table.jsonl"
    path.write_bytes(data)
    answers(lambda: loaded(path, features=True))
    rows = loaded(path)
    lines = [line for line in data.splitlines() if line.strip()]
    if is_text(data) and data.count(b"\n") == len(lines) and rows.schema.text == ("text",) and len(lines) > 1:
        truth = {number: record["text"] for number, line in enumerate(lines) if (record := record_of(line))}
        compared(rows, truth)


def record_of(line: bytes) -> dict:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("text"), str) else {}


def is_text(data: bytes) -> bool:
    try:
        return bool(data.decode()) or True
    except UnicodeDecodeError:
        return False


def loaded(path: Path, **given: object) -> lk.Rows:
    """Rows of a file, looked at from all sides."""
    rows = lk.load(str(path), on_bad="skip", **given)  # type: ignore[arg-type]
    assert len(rows) == sum(rows.spec.rows.values()) and repr(rows) and rows._repr_mimebundle_()
    assert len(rows.fingerprint) == 64
    return rows


def answers(act: Callable[[], object]) -> None:
    """Do what may be refused."""
    with contextlib.suppress(LabkitError):
        act()


def canonical(data: bytes) -> list[list[str]] | None:
    """The records of a CSV file that the standard library would write again to the last byte."""
    if not data.startswith(b'"text","label"\n') or not is_text(data):
        return None
    try:
        records = list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))
    except csv.Error:
        return None
    csv.writer(written := io.StringIO(), quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(records)
    whole = written.getvalue().encode() == data and all(len(record) == 2 for record in records)
    return records[1:] if whole else None


def compared(rows: lk.Rows, truth: dict[int, str]) -> None:
    """Assert that every text of the file was kept as it is, or is in the report."""
    if rows.schema.text != ("text",):
        return
    kept = {
        n: text for split in rows.splits.values() for n, text in zip(split["row"], split["text"], strict=True)
    }
    noted = {note.row for note in rows.report.notes if note.action != "counted"}
    for number, text in truth.items():
        assert kept.get(number) == text or number in noted, (number, text[:80], str(kept.get(number))[:80])


def wav(data: bytes) -> None:
    path = FOLDER / "tried" / "sound.wav"
    path.write_bytes(data)
    found = read_wav(path)
    assert found.dtype == np.float32 and found.ndim == 1 and len(found) and np.abs(found).max() <= 1
    try:
        with wave.open(str(path)) as file:
            shape = file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getcomptype()
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError, OSError):
        return
    if shape == (1, 2, 16000, "NONE") and len(raw) // 2 == len(found):
        assert np.allclose(found, np.frombuffer(raw[: 2 * len(found)], "<i2") / 32768)


#: What an endpoint may answer. Another status is a fault of it.
STATUSES = {200, 400, 401, 404, 405, 408, 411, 413, 414, 415, 421, 422, 431, 501, 503, 505}


@cache
def endpoint() -> Endpoint:
    logging.getLogger("labkit.inference").addHandler(_Failing())
    return Endpoint(lk.Predictor(FOLDER / "model"), rate=1e6, patience=2.0)


class _Failing(logging.Handler):
    said: list[str] = []  # noqa: RUF012

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            self.said.append(record.getMessage())


def http_request(data: bytes) -> None:
    made = endpoint()
    data = data.replace(b"TOKEN", made.token.encode())
    answer = b""
    with socket.create_connection(("127.0.0.1", made.port), 20) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before the end
        while part := client.recv(2**16):
            answer += part
    assert not _Failing.said, _Failing.said.pop()
    if not data.strip(b"\r\n") and not answer:
        return
    head, _, body = answer.partition(b"\r\n\r\n")
    status, said = int(head.split()[1]), json.loads(body) if body else {}
    assert head.startswith(b"HTTP/1.0 ") and status in STATUSES, answer[:200]
    asked = re.split(rb"\r?\n\r?\n", data, maxsplit=1)[-1]
    if status == 200 and "predictions" in said:
        given, _ = json.JSONDecoder().raw_decode(asked.decode())
        truth = made.predictor.predict(next(iter(given.values())), given.get("pairs"))
        assert [each["label"] for each in said["predictions"]] == [each.label for each in truth]
    assert status != 200 or "predictions" in said or data.split()[1] == b"/health"
    if status != 200:
        raise LabkitError(f"status {status}")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "rows.json": rows_json, "config.json": config_json, "tokenizer.json": tokenizer_json, "labkit.toml": labkit_toml,
    "safetensors": safetensors_header, "runs.sqlite": runs_sqlite, "csv": csv_table, "jsonl": jsonl, "wav": wav,
    "http": http_request,
}  # fmt: skip


def tried(name: str, data: bytes) -> dict[str, object]:
    """The outcome of one input."""
    try:
        TARGETS[name](data)
        return {"outcome": "right"}
    except LabkitError as error:
        return {"outcome": "refused", "said": str(error)[:500]}
    except BaseException as error:
        return {"outcome": "foreign", "said": f"{type(error).__name__} at {place(error)}"}


def place(error: BaseException) -> str:
    """The calls that led to an error, from the first in labkit or in its test."""
    frames = traceback.extract_tb(error.__traceback__)
    return " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[1:][-6:])


def peak() -> int:
    """The highest resident memory of this process, in megabytes; ``ru_maxrss`` begins with that of its parent."""
    status = Path("/proc/self/status")
    if not status.exists():
        return psutil.Process().memory_info().rss >> 20
    return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) >> 10


def main() -> None:
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints, prints elsewhere
    (FOLDER / "tried").mkdir(exist_ok=True)
    known(lk.Predictor(FOLDER / "model"))  # all that is imported late
    sqlite3.connect(":memory:").close()
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + MEMORY,) * 2)
    for line in sys.stdin:
        told = tried(line.strip(), (FOLDER / "input").read_bytes())
        told["mb"] = peak()
        print(json.dumps(told), file=answer, flush=True)


if __name__ == "__main__":
    main()
