"""Trackers: what TensorBoard, a CSV reader and labkit itself read of an exported run is what the store has."""

from __future__ import annotations

import csv
import json
import math
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import labkit as lk
from labkit.cli.main import app
from labkit.runs.store import Store
from labkit.runs.tracking.base import series_of
from labkit.runs.tracking.copies import MetricsExport

VALUES = [0.1, 1 / 3, 1e-30, math.nan, math.inf, -math.inf, 3.0]
RECORDS = [
    *((step, "train", "loss", value) for step, value in enumerate(VALUES, 1)),
    (4, "validation", "f1", 0.5), (4, "validation", "f1/好 & bad", 0.25), (7, "validation", "f1", 0.75),
]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> lk.api.Run:
    store = Store(tmp_path / "lab")
    store.create("a", "../first run", experiment='name = "x"\n[train]\nepochs = 3\n')
    store.write("a", RECORDS, status="finished", step=7)
    return lk.open_run("a", folder=tmp_path / "lab")


def curves(found: list) -> dict[tuple[str, str], list[tuple[int, str]]]:
    """Series → step and value; NaN is equal to itself as text."""
    series: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for each in found:
        series.setdefault((each.split, each.name), []).append((each.step, repr(each.value)))
    return series


def test_csv_has_every_digit_and_comes_back(run: lk.api.Run, tmp_path: Path) -> None:
    target = tmp_path / "new" / "metrics.csv"
    copy = run.export_metrics("csv", target)
    assert copy.count == len(RECORDS) and repr(copy) == f"<metrics in {target}: 10 values>"
    with open(target, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(r["step"]), r["split"], r["name"], repr(float(r["value"]))) for r in rows] == [
        (*each[:3], repr(float(each[3]))) for each in RECORDS
    ]
    (back,) = lk.import_runs("csv", target, folder=tmp_path / "other")
    assert curves(back.store.records(back.id)) == curves(run.store.records(run.id))
    assert (back.name, back.status, back.info.summary["validation_f1"]) == (run.name, "finished", 0.75)
    assert len(lk.import_runs("csv", target, folder=tmp_path / "other")) == 1  # it replaces the first
    overview = lk.runs(tmp_path / "other").overview()
    assert [line["data"] for line in overview] == ["imported from csv"] and "F1 0.750" in overview[0]["score"]
    pytest.importorskip("plotly")
    assert len(lk.runs(tmp_path / "other").figure().data) >= 2


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag → steps and values of the event files in a folder: an own reader of TFRecords and of protocol buffers."""

    def fields(data: bytes) -> list[tuple[int, bytes | int]]:
        found, at = [], 0

        def varint() -> int:
            nonlocal at
            value = shift = 0
            while True:
                byte = data[at]
                at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
                if byte < 128:
                    return value

        while at < len(data):
            number, wire = divmod(varint(), 8)
            if wire == 0:
                found.append((number, varint()))
                continue
            size = {1: 8, 5: 4}.get(wire) or varint()
            found.append((number, data[at : at + size]))
            at += size
        return found

    tags: dict[str, list[tuple[int, float]]] = {}
    for path in folder.iterdir():
        content, at = path.read_bytes(), 0
        while at < len(content):
            (size,) = struct.unpack_from("<Q", content, at)
            event = dict(fields(content[at + 12 : at + 12 + size]))
            at += 16 + size
            for number, value in fields(event.get(5, b"")):  # Event.summary, Summary.value
                assert number == 1
                scalar = dict(fields(value))
                tags.setdefault(scalar[1].decode(), []).append((event[2], struct.unpack("<f", scalar[2])[0]))
    return tags


def test_event_files_hold_the_values_as_float32(run: lk.api.Run, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    for _ in range(2):  # the second export replaces the first
        copy = run.export_metrics("tensorboard", tmp_path / "logs")
    assert Path(copy.place).parent == tmp_path / "logs"  # the name "../first run" leads nowhere
    found = events(Path(copy.place))
    for tag in {f"{split}/{name}" for _, split, name, _ in RECORDS}:
        expected = [
            (step, np.float32(value)) for step, split, name, value in RECORDS if f"{split}/{name}" == tag
        ]
        np.testing.assert_array_equal(np.array(found[tag]), np.array(expected, dtype=float))
    (back,) = lk.import_runs("tensorboard", tmp_path / "logs", folder=tmp_path / "other")
    rounded = [each._replace(value=float(np.float32(each.value))) for each in run.store.records(run.id)]
    assert curves(back.store.records(back.id)) == curves(rounded)


def test_a_damaged_event_file_is_refused_and_an_incomplete_one_read(run: lk.api.Run, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    (path,) = Path(run.export_metrics("tensorboard", tmp_path / "logs").place).iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    (back,) = lk.import_runs("tensorboard", tmp_path / "logs", folder=tmp_path / "other")
    assert len(back.store.records(back.id)) == len(RECORDS) - 1
    path.write_bytes(whole[:80] + bytes([whole[80] ^ 1]) + whole[81:])
    with pytest.raises(lk.LabkitError, match="is damaged"):
        lk.import_runs("tensorboard", tmp_path / "logs", folder=tmp_path / "other")


def test_a_run_is_followed_until_it_is_over_and_repeated_steps_are_copied_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "lab")
    store.create("a", "live")
    store.write("a", [(1, "train", "loss", 0.5), (2, "train", "loss", 0.4)])
    copy = MetricsExport(store, "a", "csv", str(tmp_path / "live.csv"), follow=True)
    until = time.monotonic() + 30
    while copy.count < 2:
        assert time.monotonic() < until
        time.sleep(0.01)
    with pytest.raises(TimeoutError):
        copy.wait(0.01)
    store.forget_after("a", 1)  # resumed from step 1
    store.write("a", [(2, "train", "loss", 0.4), (3, "train", "loss", 0.3)], status="finished")
    copy.wait(30)
    (back,) = lk.import_runs("csv", tmp_path / "live.csv", folder=tmp_path / "other")
    assert curves(back.store.records(back.id)) == {("train", "loss"): [(1, "0.5"), (2, "0.4"), (3, "0.3")]}


@pytest.mark.parametrize(
    ("tag", "series"),
    [
        ("eval/loss", ("validation", "loss")), ("val_acc", ("validation", "acc")), ("train.loss", ("train", "loss")),
        ("validation/f1/a/b", ("validation", "f1/a/b")), ("Valid loss", ("validation", "loss")),
        ("loss", ("train", "loss")), ("a/b", ("train", "a.b")), ("value", ("train", "value")),
        ("testing", ("train", "testing")), ("epoch_loss", ("train", "epoch_loss")),
    ],
)  # fmt: skip
def test_names_of_other_tools(tag: str, series: tuple[str, str]) -> None:
    assert series_of(tag) == series


def test_a_table_with_a_column_per_metric_is_imported(tmp_path: Path) -> None:
    (tmp_path / "keras.csv").write_text("epoch,accuracy,val_accuracy,loss\n0,0.5,0.4,1.5\n1,0.75,,1.25\n")
    (run,) = lk.import_runs("csv", tmp_path / "keras.csv", folder=tmp_path / "lab")
    assert curves(run.store.records(run.id)) == {
        ("train", "accuracy"): [(0, "0.5"), (1, "0.75")], ("train", "loss"): [(0, "1.5"), (1, "1.25")],
        ("validation", "accuracy"): [(0, "0.4")],
    }  # fmt: skip


def test_what_cannot_be_read_or_written_is_named(run: lk.api.Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    for text, message in (("a,b\n1,2\n", "no column 'step'"), ("step,loss\n1,x\n", "could not convert")):
        bad.write_text(text)
        with pytest.raises(lk.LabkitError, match=message):
            lk.import_runs("csv", bad, folder=tmp_path / "other")
    with pytest.raises(lk.LabkitError, match=r"missing\.csv cannot be read"):
        lk.import_runs("csv", tmp_path / "missing.csv", folder=tmp_path / "other")
    with pytest.raises(lk.LabkitError, match=r"cannot write to .*Give another target"):
        run.export_metrics("csv", bad / "x.csv")
    with pytest.raises(lk.LabkitError, match=r"unknown tracker 'tensorbord'.*Did you mean 'tensorboard'"):
        run.export_metrics("tensorbord")


def test_the_commands_export_and_import(run: lk.api.Run, tmp_path: Path) -> None:
    lab, target = ["--folder", str(run.store.folder)], tmp_path / "metrics.csv"
    done = CliRunner().invoke(app, ["runs", "export", "a", "--target", str(target), *lab])
    assert done.exit_code == 0 and "10 values" in done.output, done.output
    done = CliRunner().invoke(app, ["runs", "import", "csv", str(target), *lab])
    assert done.exit_code == 0, done.output
    assert len(json.loads(CliRunner().invoke(app, ["runs", "--json", *lab]).output)) == 2
