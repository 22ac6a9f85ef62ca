"""Exports are read elsewhere as here: files equal to kept ones, and the answers that other libraries gave for these."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from .exports.cases import CASES, Case, export, ours

KEPT = Path(__file__).parent / "exports" / "kept"
#: labkit's own files, which name versions and paths; no other program reads them.
OWN = ("labkit.toml", "labkit-manifest.json")


def files_of(folder: Path) -> dict[str, Path]:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path for name, path in found.items() if name not in OWN}


def assert_alike(found: dict[str, list[Any]], wanted: dict[str, list[Any]]) -> None:
    """Labels and texts equal, numbers to 1e-4 of the greatest in their row."""
    assert found["texts"] == wanted["texts"] and len(found["numbers"]) == len(wanted["numbers"])
    for one, two in zip(found["numbers"], wanted["numbers"], strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4 * max(1e-3, np.abs(two).max()))


@pytest.mark.parametrize("name", CASES)
def test_an_export_is_what_other_libraries_read(name: str, tmp_path: Path) -> None:
    case: Case = CASES[name]
    run, folder = export(case, tmp_path)
    now, kept = files_of(folder), files_of(KEPT / name)
    answers = json.loads(kept.pop("answers.json").read_text(encoding="utf-8"))
    assert sorted(now) == sorted(kept)
    for file, path in now.items():
        if file.endswith(".safetensors"):
            tensors, wanted = load_file(path), load_file(kept[file])
            assert sorted(tensors) == sorted(wanted)
            for each, value in tensors.items():
                np.testing.assert_allclose(
                    value, wanted[each], rtol=1e-6, atol=1e-6, err_msg=f"{file}: {each}"
                )
        else:
            assert path.read_bytes() == kept[file].read_bytes(), file
    assert_alike(ours(case, run), answers)


def test_the_cover_is_pairwise() -> None:
    """Every pair of values of layout, task, pooling and tokenizer that can be trained together is in one case."""
    encoders = ("bert", "roberta", "xlm-roberta", "distilbert")
    layouts = (*encoders, "gpt2", "llama", "marian", "pegasus")
    tasks = {"classify", "multilabel", "regress", "embed", "qa", "pretrain", "lm", "seq2seq"}
    able = {
        **dict.fromkeys(encoders, tasks - {"lm", "seq2seq"}),
        "gpt2": {"classify", "multilabel", "regress", "lm"},
        "llama": {"classify", "multilabel", "lm"},  # its heads have no bias to hold the mean of a target
        "marian": {"seq2seq"}, "pegasus": {"seq2seq"},
    }  # fmt: skip
    cases = CASES.values()
    sources, poolings = ("loaded", "wordpiece", "bpe"), ("cls", "mean", "first", "max")
    pooled = ("classify", "multilabel", "regress", "embed")
    assert {(c.layout, c.task) for c in cases} >= {(x, y) for x in layouts for y in able[x]}
    assert {(c.layout, c.tokenizer) for c in cases} >= {(x, y) for x in layouts for y in sources}
    assert {(c.task, c.tokenizer) for c in cases} >= {(x, y) for x in tasks for y in sources}
    assert {(c.task, c.pooling) for c in cases} >= {(x, y) for x in pooled for y in poolings}
    assert {(c.layout, c.pooling) for c in cases} >= {(x, y) for x in encoders for y in poolings}
    assert {(c.tokenizer, c.pooling) for c in cases} >= {(x, y) for x in sources for y in poolings}
    folders = [path for path in KEPT.iterdir() if path.is_dir()]
    assert {path.name for path in folders} == set(CASES) and len(folders) <= 40
    assert sum(path.stat().st_size for path in KEPT.rglob("*") if path.is_file()) <= 3_000_000
