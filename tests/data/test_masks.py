"""Folders of pictures with masks: layouts, classes, sizes; what cannot be used is refused by row."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import labkit as lk
from labkit.core.errors import ConfigError, DataError
from labkit.data.masks import UNKNOWN, masks_of


def write(folder, name, mask, mode="L", ending=".png", pictures="images", masks="masks"):
    mask = np.asarray(mask, np.uint8)
    for part in (pictures, masks):
        (folder / part).mkdir(parents=True, exist_ok=True)
    picture = np.random.default_rng(0).integers(0, 256, (*mask.shape[:2], 3)).astype(np.uint8)
    Image.fromarray(picture).save(folder / pictures / f"{name}.png")
    made = Image.fromarray(mask) if mode != "P" else Image.fromarray(mask).convert("P")
    if mode == "P":
        made = Image.frombytes("P", mask.shape[::-1], mask.tobytes())
        made.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    made.save(folder / masks / f"{name}{ending}")


SQUARE = np.kron(np.array([[0, 1], [2, 1]]), np.ones((4, 4), int))


def test_grey_palette_and_coloured_masks(tmp_path):
    for number in range(3):
        write(tmp_path / "grey", f"{number}", SQUARE)
        write(tmp_path / "palette", f"{number}", SQUARE, "P")
        write(tmp_path / "binary", f"{number}", 255 * (SQUARE > 0))
        write(tmp_path / "colour", f"{number}", np.array([[9, 9, 9], [255, 0, 0], [0, 0, 255]])[SQUARE])
    for name in ("grey", "palette"):
        rows = lk.load(str(tmp_path / name))
        assert rows.schema.mask_classes == ("0", "1", "2") and np.array_equal(
            masks_of(rows["train"])[1], SQUARE
        )
    named = lk.load(str(tmp_path / "grey"), classes=["sea", "land", "lake"])
    assert named.schema.mask_classes == ("sea", "land", "lake") and named.schema.modality == "image"
    binary = lk.load(str(tmp_path / "binary"))
    assert binary.schema.mask_classes == ("0", "255") and np.array_equal(
        masks_of(binary["train"])[0], SQUARE > 0
    )
    colour = lk.load(str(tmp_path / "colour"))
    assert colour.schema.mask_classes == ("#0000ff", "#090909", "#ff0000")
    merged = lk.load(str(tmp_path / "colour"), classes={"#090909": "a", "#ff0000": "b", "#0000ff": "b"})
    assert merged.schema.mask_classes == ("a", "b") and np.array_equal(
        masks_of(merged["train"])[0], SQUARE > 0
    )
    again = lk.load(str(tmp_path / "grey"), classes=["sea", "land", "lake"])
    assert again.fingerprint == named.fingerprint != lk.load(str(tmp_path / "palette")).fingerprint


def test_unknown_pixels_saved_rows_and_sizes(tmp_path):
    mask = SQUARE.copy()
    mask[0, 0] = UNKNOWN
    write(tmp_path, "a", mask)
    write(tmp_path, "b", SQUARE)
    rows = lk.load(str(tmp_path))
    assert rows.schema.mask_classes == ("0", "1", "2") and masks_of(rows["train"])[0, 0, 0] == UNKNOWN
    assert [str(note.detail) for note in rows.report.notes] == ["1 of 128 pixels"]
    rows.save(tmp_path / "saved")
    kept = lk.load(str(tmp_path / "saved"))
    assert kept.spec == rows.spec and np.array_equal(masks_of(kept["train"]), masks_of(rows["train"]))
    small = lk.load(str(tmp_path), size=(4, 4))
    assert np.array_equal(masks_of(small["train"])[1], SQUARE[::2, ::2])
    assert np.asarray(small["train"][0]["image"]).shape == (4, 4, 3)


def test_layouts_of_splits_and_names(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / "one" / split, "a", SQUARE)
        write(tmp_path / "two", "a", SQUARE, pictures=f"images/{split}", masks=f"masks/{split}")
        write(tmp_path / "three", f"{split}", SQUARE, pictures="photos of fields", masks="ground truth")
    write(tmp_path / "four", "a", SQUARE, ending="_mask.png")
    for name in ("one", "two"):
        assert lk.load(str(tmp_path / name)).counts() == {"train": 1, "test": 1}
    assert lk.load(str(tmp_path / "three"), masks="ground truth").counts() == {"train": 2}
    assert lk.load(str(tmp_path / "four")).counts() == {"train": 1}
    with pytest.raises(DataError, match="no pictures with masks in a folder 'labels'"):
        lk.load(str(tmp_path / "one"), masks="labels")


def test_what_cannot_be_used_is_refused_by_row(tmp_path):
    for name in "abcde":
        write(tmp_path, name, SQUARE)
    (tmp_path / "masks" / "a.png").unlink()
    Image.fromarray(np.zeros((5, 8), np.uint8)).save(tmp_path / "masks" / "b.png")
    (tmp_path / "masks" / "c.png").write_bytes(b"no picture")
    (tmp_path / "masks" / "d.png").unlink()
    Image.fromarray(SQUARE.astype(np.uint8)).save(tmp_path / "masks" / "d.jpg")
    Image.fromarray(SQUARE.astype(np.uint8)).save(tmp_path / "masks" / "z.png")
    with pytest.raises(DataError) as found:
        lk.load(str(tmp_path))
    for said in ("4 of 5 rows are unusable", "picture without a mask (1): row 0 (a.png)", "8 x 8 pixels with a mask of "
                 "5 x 8", "not a complete image", "store masks as PNG"):  # fmt: skip
        assert said in str(found.value), found.value
    rows = lk.load(str(tmp_path), on_bad="skip")
    assert rows["train"]["row"] == [4] and "mask without a picture" in str(rows.report)
    write(tmp_path / "two", "a", SQUARE)
    with pytest.raises(DataError, match=r"mask with a value that no class has \(1\): row 0 of train \(2"):
        lk.load(str(tmp_path / "two"), classes=["x", "y"])
    with pytest.raises(ConfigError, match="leave label, number, answer and tags out"):
        lk.load(str(tmp_path), label="file")
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3))
    write(tmp_path / "noise", "a", noise)
    with pytest.raises(DataError, match=r"different values\. A mask has one value for each class"):
        lk.load(str(tmp_path / "noise"))
