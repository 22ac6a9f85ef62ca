"""Runs exported to TensorBoard, MLflow, Trackio and W&B, read back with those libraries: equal values; and imported."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import labkit as lk
from labkit.runs.store import Store

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore"),  # those of the libraries
]
RECORDS = [
    *((step, "train", "loss", 1 / step) for step in range(1, 1301)),
    (7, "validation", "f1", 0.5), (7, "validation", "f1/好 & bad", 0.25), (1300, "validation", "f1", 2 / 3),
    (3, "test", "f1", 1e-300), (1300, "validation", "loss", math.nan),
]  # fmt: skip
Points = dict[str, list[tuple[int, float]]]


@pytest.fixture
def run(tmp_path: Path) -> lk.api.Run:
    store = Store(tmp_path / "lab")
    store.create("a", "first", experiment='name = "x"\n[train]\nepochs = 3\n')
    store.write("a", RECORDS, status="finished", step=1300)
    return lk.open_run("a", folder=tmp_path / "lab")


def points(records: Any) -> Points:
    found: Points = {}
    for step, split, name, value in records:
        found.setdefault(f"{split}/{name}", []).append((step, value))
    return found


def same(found: Points, expected: Points) -> None:
    assert set(found) == set(expected)
    for tag, pairs in expected.items():
        np.testing.assert_array_equal(np.array(sorted(found[tag])), np.array(pairs, float), err_msg=tag)


def imported(source: str, target: object, folder: Path) -> Points:
    (run,) = lk.import_runs(source, str(target), folder=folder)
    return points((each.step, each.split, each.name, each.value) for each in run.store.records(run.id))


def test_tensorboard_reads_the_same_values(run: lk.api.Run, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    place = run.export_metrics("tensorboard", tmp_path / "logs").place
    there = accumulator.EventAccumulator(place, size_guidance={"scalars": 0})
    there.Reload()
    expected = points((*each[:3], float(np.float32(each[3]))) for each in RECORDS)
    times = {each.time for each in run.store.records(run.id)}
    assert {each.wall_time for each in there.Scalars("train/loss")} == times
    same({tag: [(e.step, e.value) for e in there.Scalars(tag)] for tag in there.Tags()["scalars"]}, expected)
    same(imported("tensorboard", tmp_path / "logs", tmp_path / "other"), expected)


def test_event_files_of_tensorboard_are_imported(tmp_path: Path) -> None:
    """Those of its own writer, which keeps numbers as tensors."""
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(tmp_path / "logs" / "validation"))
    for step, tensor in enumerate(
        (TensorProto(dtype=1, float_val=[0.5]), TensorProto(dtype=2, double_val=[0.1]))
    ):
        value = Summary.Value(tag="epoch_loss", tensor=tensor)
        writer.add_event(Event(step=step, wall_time=1.0, summary=Summary(value=[value])))
    writer.close()
    same(
        imported("tensorboard", tmp_path / "logs", tmp_path / "lab"),
        {"train/epoch_loss": [(0, 0.5), (1, 0.1)]},
    )


def test_mlflow_reads_the_same_values(run: lk.api.Run, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for _ in range(2):  # the second export replaces the first
        run.export_metrics("mlflow", uri)
    client = mlflow.MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'labkit'")
    (there,) = client.search_runs([experiment.experiment_id])
    assert (there.info.run_name, there.info.status, there.data.params) == (
        "first",
        "FINISHED",
        {"train.epochs": "3"},
    )
    found = {
        key: [(each.step, each.value) for each in client.get_metric_history(there.info.run_id, key)]
        for key in there.data.metrics
    }
    expected = {tag.replace("&", "_"): pairs for tag, pairs in points(RECORDS).items()}
    same(found, expected)
    same(imported("mlflow", uri, tmp_path / "other"), expected)


def test_trackio_reads_the_same_values(
    run: lk.api.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when the library is imported
    trackio = pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    for _ in range(2):
        run.export_metrics("trackio", "labkit-test")
    (there,) = trackio.Api().runs("labkit-test")
    found: Points = {}
    for row in SQLiteStorage.get_logs("labkit-test", there.name, run_id=there.id):
        for tag, value in row.items():
            if tag not in ("step", "timestamp"):
                found.setdefault(tag, []).append((row["step"], value))
    same(found, points(RECORDS))
    same(imported("trackio", "labkit-test", tmp_path / "other"), points(RECORDS))


def test_wandb_reads_the_same_values(
    run: lk.api.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    place = Path(run.export_metrics("wandb", tmp_path / "offline").place)
    (file,) = place.glob("*.wandb")
    content, found = file.read_bytes(), dict[str, list[tuple[int, float]]]()
    assert content[:4] == b":W&B"
    at, message = 7, b""
    while at < len(content):  # a log of LevelDB: checksum, length and kind of a piece in a block of 32 KiB
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        message += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            record, message = Record.FromString(message), b""
            items = {each.key or "/".join(each.nested_key): each.value_json for each in record.history.item}
            for tag, text in items.items():
                if not tag.startswith("_") and tag != "step":
                    found.setdefault(tag, []).append((int(items["step"]), float(json.loads(text))))
    same(found, points(RECORDS))
    same(imported("wandb", tmp_path / "offline", tmp_path / "other"), points(RECORDS))
