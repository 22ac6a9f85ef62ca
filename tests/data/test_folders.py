"""Folders as people have them: every file is read, or named in the report."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from PIL import Image
from scipy.io import wavfile

import labkit as lk
from labkit.core.archive import unpack
from labkit.core.errors import ConfigError, DataError
from labkit.data.batching.arrays import stack
from labkit.data.io.load import peek, read_table

TABLE = [{"text": f"{w} film {i}", "label": w} for i in range(4) for w in ("good", "bad")]
APPLE_DOUBLE = b"\0\5\x16\7" + bytes(400)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


def picture(path: Path, value: int = 0, kind: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, 7, 9)).save(path, kind)


def sound(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, 8000, np.full(800, value, np.int16))


def table(path: Path, rows: Any = TABLE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False)


def details(rows: Any, reason: str) -> list[str]:
    return [note.detail for note in rows.report.notes if note.reason == reason]


# --- classes -------------------------------------------------------------------------------------------------------


def test_class_folders_are_read_whole_or_say_what_is_not(tmp_path: Path):
    for label in "ab":
        for number in range(2):
            picture(tmp_path / label / f"{number}.png", number)
        picture(tmp_path / label / "x.jfif", 5, "JPEG")
        picture(tmp_path / label / "y.JPE", 5, "JPEG")
        picture(tmp_path / label / "2024" / "z.png")
        (tmp_path / label / "phone.heic").write_bytes(b"x")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "1.heic").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    picture(tmp_path / "loose.png")
    (tmp_path / "notes.md").write_text("x")
    rows = lk.load(tmp_path)
    assert len(rows) == 10 and rows.spec.classes == ("a", "b")
    assert details(rows, "file not read") == [
        "a/phone.heic", "b/phone.heic", "c/1.heic", "empty/", "loose.png", "notes.md"
    ]  # fmt: skip
    assert details(rows, "file in a subfolder of its class") == ["a/2024/z.png", "b/2024/z.png"]
    assert rows["train"]["file"][0] == "a/0.png"
    assert peek(tmp_path) == {}


@pytest.mark.parametrize("kind", ["png", "txt", "wav"])
def test_files_of_systems_are_passed_over_and_counted(tmp_path: Path, kind: str):
    for label in "ab":
        for number in range(3):
            path = tmp_path / "train" / label / f"{number}.{kind}"
            if kind == "txt":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{label} {number}")
            else:
                (picture if kind == "png" else sound)(path, number)
            (path.parent / f"._{number}.{kind}").write_bytes(APPLE_DOUBLE)
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", "~$x.docx", ".gitkeep"):
            (tmp_path / "train" / label / name).write_bytes(b"x")
        (tmp_path / "train" / label / ".ipynb_checkpoints").mkdir()
        (tmp_path / "train" / label / ".ipynb_checkpoints" / f"0-checkpoint.{kind}").write_bytes(b"x")
        (tmp_path / "__MACOSX" / label).mkdir(parents=True)
        (tmp_path / "__MACOSX" / label / f"._0.{kind}").write_bytes(APPLE_DOUBLE)
    rows = lk.load(tmp_path)
    assert len(rows) == 6 and rows.spec.classes == ("a", "b")
    assert rows.report.counts() == {"counted": {"system file skipped": 2 * 9 + 1}}


def test_files_of_systems_beside_tables(tmp_path: Path):
    table(tmp_path / "data.csv")
    for name in ("._data.csv", "~$data.xlsx", ".~lock.data.csv#"):
        (tmp_path / name).write_bytes(APPLE_DOUBLE)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    table(tmp_path / ".ipynb_checkpoints" / "data-checkpoint.csv")
    rows = lk.load(tmp_path)
    assert rows.counts() == {"train": 8}
    assert rows.report.counts() == {"counted": {"system file skipped": 4}}


def test_zip_files_leave_the_same_out(tmp_path: Path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name in (
            "a/1.txt",
            "b/1.txt",
            "a/._1.txt",
            "a/Thumbs.db",
            "__MACOSX/a/._1.txt",
            "a/.ipynb_checkpoints/1.txt",
        ):
            file.writestr(name, "text")
    unpack(out.getvalue(), tmp_path / "x", (".txt", ".db"))
    assert sorted(p.relative_to(tmp_path / "x").as_posix() for p in (tmp_path / "x").rglob("*.*")) == [
        "a/1.txt",
        "b/1.txt",
    ]


def test_a_folder_around_the_classes_is_passed_through(tmp_path: Path):
    for label in "ab":
        picture(tmp_path / "images" / label / "1.png")
    assert lk.load(tmp_path).spec.classes == ("a", "b")


def test_folders_of_splits_without_classes_are_no_classes(tmp_path: Path):
    for split in ("train", "test"):
        picture(tmp_path / split / "1.png")
    with pytest.raises(DataError, match=r"one subfolder per class"):
        lk.load(tmp_path)


def test_two_folders_of_one_split_are_refused(tmp_path: Path):
    for split in ("train", "val", "valid"):
        picture(tmp_path / split / "a" / "1.png")
    with pytest.raises(DataError, match="'val' and 'valid' both define the split 'validation'"):
        lk.load(tmp_path)


# --- tables --------------------------------------------------------------------------------------------------------


def test_tables_that_are_no_split_are_named(tmp_path: Path):
    for name in ("train", "train2", "extra"):
        table(tmp_path / f"{name}.csv")
    table(tmp_path / "old" / "train.csv")
    rows = lk.load(tmp_path)
    assert rows.counts() == {"train": 8}
    assert details(rows, "file not read") == ["extra.csv", "old/train.csv", "train2.csv"]
    assert details(read_table(tmp_path), "file not read") == ["extra.csv", "old/train.csv", "train2.csv"]


def test_a_folder_for_each_split_of_tables(tmp_path: Path):
    table(tmp_path / "train" / "part-0.csv")
    table(tmp_path / "train" / "part-1.csv")
    table(tmp_path / "test" / "data.csv")
    rows = lk.load(tmp_path)
    assert rows.counts() == {"train": 16, "test": 8}
    assert details(rows, "files read as one table") == ["part-0.csv, part-1.csv"]


def test_plain_texts_by_split(tmp_path: Path):
    for name, lines in (("train", 3), ("test", 1)):
        (tmp_path / f"{name}.txt").write_text("a line\n" * lines)
    assert lk.load(tmp_path).counts() == {"train": 3, "test": 1}


def test_a_plain_and_a_numbered_file_of_a_split_are_refused(tmp_path: Path):
    for name in ("train", "train_0"):
        table(tmp_path / f"{name}.csv")
    with pytest.raises(DataError, match="both define the split 'train'"):
        lk.load(tmp_path)


SHARDS = [
    # values of two shards, what both become
    ([1, 2], [0.5, None], [1.0, 2.0, 0.5, None]),
    ([1, 2], [None, None], [1, 2, None, None]),
    ([None, None], ["x", "y"], [None, None, "x", "y"]),
    ([1, 2], ["x", None], ["1", "2", "x", None]),
    ([True, False], [None, None], [True, False, None, None]),
]


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize(("one", "two", "both"), SHARDS)
def test_shards_of_several_types_get_the_one_that_holds_all(
    tmp_path: Path, kind: str, one: list[Any], two: list[Any], both: list[Any]
):
    for place, values in enumerate((one, two)):
        data = Dataset.from_dict({"text": ["a", "b"], "n": values})
        path = tmp_path / f"train-{place:05}-of-00002.{kind}"
        data.to_parquet(path) if kind == "parquet" else data.to_json(path)
    rows = lk.load(tmp_path, text="text", label=False)
    assert rows["train"]["n"][:] == both and rows["train"]["row"][:] == [0, 1, 2, 3]
    assert [type(value) for value in rows["train"]["n"][:]] == [type(value) for value in both]
    changed = rows.report.counts().get("repaired", {}).get("numbers in a text column converted to text", 0)
    assert changed == (2 if both[0] == "1" else 0)


def test_shards_that_do_not_go_together_are_named(tmp_path: Path):
    shard = lambda n: tmp_path / f"train-{n:05}-of-00002.parquet"  # noqa: E731
    Dataset.from_dict({"text": ["a"], "n": [1]}).to_parquet(shard(0))
    Dataset.from_dict({"text": ["a"]}).to_parquet(shard(1))
    with pytest.raises(DataError, match=r"'train-00001.*' lacks the column 'n' of 'train-00000.*'"):
        lk.load(tmp_path)
    for place, names in enumerate((["x", "y"], ["y", "x"])):
        features = Features(text=Value("string"), n=ClassLabel(names=names))
        Dataset.from_dict({"text": ["a"], "n": [0]}, features).to_parquet(shard(place))
    with pytest.raises(DataError, match=r"column 'n' has type ClassLabel.* in 'train-00000"):
        lk.load(tmp_path)


def test_class_names_outlive_shards_of_other_types(tmp_path: Path):
    for place, n in enumerate((1, 0.5)):
        features = Features(
            text=Value("string"), label=ClassLabel(names=["x", "y"]), n=Value(f"{type(n).__name__}64")
        )
        data = Dataset.from_dict({"text": ["a"], "label": [place], "n": [n]}, features)
        data.to_parquet(tmp_path / f"train-{place:05}-of-00002.parquet")
    rows = lk.load(tmp_path)
    assert rows.spec.classes == ("x", "y") and rows["train"]["n"][:] == [1.0, 0.5]


# --- tables that name files ----------------------------------------------------------------------------------------


def listed(folder: Path, column: str, names: list[str], where: str = "labels.csv", **more: Any) -> None:
    table(folder / where, {column: names, "label": (["a", "b"] * len(names))[: len(names)], **more})


@pytest.mark.parametrize(
    ("column", "place", "said"),
    [
        ("file", "{}.png", "{}.png"),
        ("file_name", "images/{}.png", "images/{}.png"),
        ("path", "images/{}.png", "{}.png"),
        ("image", "images/{}.png", "./images\\{}.png"),
        ("whatever", "images/{}.PNG", "{}.png"),
        ("filename", "x/{}.png", "/home/me/data/{}.png"),
        ("image_id", "x/{}.jpg", "{}"),
    ],
)
def test_a_table_that_names_pictures_is_a_set_of_pictures(tmp_path: Path, column: str, place: str, said: str):
    for number in range(6):
        picture(tmp_path / place.format(f"p{number}"), 40 * number, "PNG")
    listed(tmp_path, column, [said.format(f"p{number}") for number in range(6)], width=range(6))
    rows = lk.load(tmp_path)
    assert rows.spec.modality == "image" and rows.spec.classes == ("a", "b") and len(rows.report) <= 1
    arrays = stack(rows["train"], rows.spec)
    assert (
        arrays.inputs[:, 0, 0, 0].tolist() == [0, 40, 80, 120, 160, 200]
        and arrays.label.tolist() == [0, 1] * 3
    )
    assert lk.load(tmp_path, number="width").spec.problem_type == "number"
    assert lk.load(tmp_path, size=4)["train"].features["image"].shape == (4, 4, 3)


def test_the_path_of_such_a_table_is_the_same(tmp_path: Path):
    for number in range(4):
        picture(tmp_path / f"{number}.png", number)
    listed(tmp_path, "file", [f"{number}.png" for number in range(4)])
    rows = lk.load(tmp_path / "labels.csv")
    assert rows.spec.modality == "image" and len(rows.report) == 0
    with pytest.raises(
        ConfigError, match="not accept size"
    ):  # the caller may still read the names themselves
        lk.load(tmp_path / "labels.csv", size=4, text="file")
    assert lk.load(tmp_path / "labels.csv", text="file").spec.modality == "text"
    assert read_table(tmp_path / "labels.csv").table.column_names == ["file", "label"]
    assert list(peek(tmp_path)) == ["file", "label"]


def test_tables_of_splits_that_name_sounds(tmp_path: Path):
    for split, count in (("train", 4), ("test", 2)):
        names = [f"{split}{number}.wav" for number in range(count)]
        for name in names:
            sound(tmp_path / split / name)
        listed(tmp_path, "audio", names, f"{split}/metadata.csv")
    rows = lk.load(tmp_path)
    assert (
        rows.spec.modality == "audio"
        and rows.counts() == {"train": 4, "test": 2}
        and rows.spec.rate == 16_000
    )
    assert len(rows.report) == 0


def test_a_table_that_names_text_files(tmp_path: Path):
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text(f"text {number}\nof two lines")
    listed(tmp_path, "file", [f"{number}.txt" for number in range(4)])
    rows = lk.load(tmp_path)
    assert rows["train"]["text"][1] == "text 1\nof two lines" and rows.spec.classes == ("a", "b")


def test_files_that_are_named_and_missing_are_refused_by_row(tmp_path: Path):
    for number in range(4):
        picture(tmp_path / f"{number}.png", number)
    listed(tmp_path, "file", ["0.png", "1.png", "gone.png", "3.png"])
    with pytest.raises(DataError, match=r"no such file \(1\): row 2 \(gone\.png\)"):
        lk.load(tmp_path)
    rows = lk.load(tmp_path, on_bad="skip")
    assert rows["train"]["row"][:] == [0, 1, 3] and details(rows, "file not read") == ["2.png"]
    listed(tmp_path, "file", ["../../secret.png", "x.png", "y.png", "z.png"])
    with pytest.raises(DataError, match="column 'file' contains file names, and no other"):
        lk.load(tmp_path)
    with pytest.raises(DataError, match=r"Load the folder that contains both the files and the table"):
        lk.load(pd.read_csv(tmp_path / "labels.csv"))


def test_a_table_within_a_split_does_not_hide_texts_by_class(tmp_path: Path):
    for label in "ab":
        (tmp_path / "train" / label).mkdir(parents=True)
        (tmp_path / "train" / label / "1.txt").write_text(f"text {label}")
    table(tmp_path / "train" / "index.csv")
    rows = lk.load(tmp_path)
    assert rows.spec.classes == ("a", "b") and details(rows, "file not read") == ["train/index.csv"]


def test_texts_beside_pictures_stay_texts(tmp_path: Path):
    picture(tmp_path / "figures" / "1.png")
    table(tmp_path / "train.csv")
    rows = lk.load(tmp_path)
    assert rows.spec.modality == "text" and details(rows, "file not read") == ["figures/1.png"]


def test_classes_by_folder_win_over_a_table_without_labels(tmp_path: Path):
    names = [f"{label}/{number}.png" for label in "ab" for number in range(3)]
    for name in names:
        picture(tmp_path / name)
    table(tmp_path / "metadata.csv", {"file_name": names, "camera": ["x", "y"] * 3})
    rows = lk.load(tmp_path)
    assert rows.spec.classes == ("a", "b") and details(rows, "file not read") == ["metadata.csv"]
