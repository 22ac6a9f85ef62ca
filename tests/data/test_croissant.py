"""Data cards in Croissant: mlcroissant validates them without a warning and reads the same rows from them."""

from __future__ import annotations

import hashlib
import json
import logging

import pytest

import labkit as lk
from labkit.core.errors import DataError


def read(path, split: str) -> list[dict]:
    mlc = pytest.importorskip("mlcroissant")
    data = mlc.Dataset(jsonld=str(path))
    return [
        {key.partition("/")[2]: _plain(value) for key, value in record.items()}
        for record in data.records(split)
    ]


def _plain(value):
    return value.decode() if isinstance(value, bytes) else value


def test_texts_are_read_back_by_mlcroissant(tmp_path, caplog):
    labels = ["good", "bad"] * 20
    lines = [f"text {n} é你好,{label},{n / 2},{'x' if n % 2 else ''}" for n, label in enumerate(labels)]
    (tmp_path / "x.csv").write_text("\n".join(["text,label,score,note", *lines]), encoding="utf-8")
    rows = lk.load(tmp_path / "x.csv").split(validation=6, test=8)
    path = rows.save_croissant(
        tmp_path / "card", description="Texts for a test.", licence="https://spdx.org/licenses/MIT.html",
        url="https://example.org/x", cite="@misc{x}", creator="nobody",
    )  # fmt: skip
    about = json.loads(path.read_text("utf-8"))
    assert about["identifier"] == f"sha256:{rows.fingerprint}" and about["name"] == "x.csv"
    for file in about["distribution"]:
        assert file["sha256"] == hashlib.sha256((path.parent / file["name"]).read_bytes()).hexdigest()
    with caplog.at_level(logging.WARNING):
        for split in rows.splits:
            found = read(path, split)
            part = rows[split]
            assert [each["text"] for each in found] == part["text"]
            assert [each["label"] for each in found] == rows.known_of(part)
            assert [each["row"] for each in found] == part["row"]
    assert [record.message for record in caplog.records if "mlcroissant" in record.name] == []


def test_tables_and_unlabelled_rows(tmp_path):
    lines = [f"{n},{('a', 'b')[n % 2]},{('yes', 'no', '')[n % 3]}" for n in range(30)]
    (tmp_path / "x.csv").write_text("\n".join(["age,kind,label", *lines]), encoding="utf-8")
    rows = lk.load(tmp_path / "x.csv", features=True, label="label", missing="keep")
    found = read(rows.save_croissant(tmp_path / "card"), "train")
    assert [each["age"] for each in found] == list(range(30))
    assert [each["label"] or None for each in found] == rows.known_of(rows["train"])


def test_what_cannot_be_described_is_refused(tmp_path):
    with pytest.raises(DataError, match="modality 'image' cannot be described"):
        lk.load("digits").save_croissant(tmp_path / "card")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    rows = lk.load([{"text": "a b", "label": "x"}, {"text": "c d", "label": "y"}])
    with pytest.raises(DataError, match="is not empty"):
        rows.save_croissant(tmp_path / "full")
