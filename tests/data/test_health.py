"""Rows looked over: every kind of problem is found, with the numbers of its rows."""

from __future__ import annotations

import numpy as np
import pytest

import labkit as lk
from labkit.data.io.load import peek
from labkit.data.prepare.quality import DataQuality, Histogram, QualityProblem, check


def found(rows: lk.Rows) -> dict[str, QualityProblem]:
    return {problem.kind: problem for problem in check(rows).problems}


def test_clean_rows_have_no_problem() -> None:
    rows = lk.load([{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(40)])
    health = check(rows)
    assert health.problems == () and health.rows == 40 and health.classes == {"a": 20, "b": 20}
    assert sum(health.lengths.counts) == 40 and health.lengths.edges[0] == 6


def test_each_problem_is_found_by_row() -> None:
    table = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(60)]
    table[7]["text"] = table[2]["text"].upper()  # a copy with another label
    table[9]["text"] = table[5]["text"]  # a copy with the same label
    table[11]["label"] = None
    table[13]["text"] = "long " * 200
    table[15]["text"] = ""
    table[17]["label"] = "rare"
    rows = lk.load(table, on_bad="skip", missing="keep")
    problems = found(rows)
    assert problems["copies"] == QualityProblem("copies", "warn", 2, (7, 9))
    assert problems["conflicts"] == QualityProblem("conflicts", "bad", 2, (2, 7))
    assert problems["unlabelled"].rows == (11,) and problems["far"].rows == (13,)
    assert problems["refused"].rows == (15,) and problems["refused"].count == 1
    assert problems["rare"] == QualityProblem("rare", "bad", 1, (), "rare")
    levels = [problem.level for problem in check(rows).problems]
    assert levels == sorted(levels, key=["bad", "warn", "info"].index)


def test_leakage_is_told_by_split(tmp_path) -> None:
    for name, texts in {"train": ["a a", "b b", "c c"], "test": ["d d", "a a"]}.items():
        lines = "\n".join(f"{text},{'xy'[i % 2]}" for i, text in enumerate(texts))
        (tmp_path / f"{name}.csv").write_text(f"text,label\n{lines}\n")
    problem = found(lk.load(tmp_path))["leakage"]
    assert (problem.level, problem.count, problem.rows, problem.what) == ("bad", 1, (4,), "test")


def test_pictures_have_no_lengths() -> None:
    rows = lk.load("digits").sample(30)
    health = check(rows)
    assert health.lengths is None and health.rows == 30 and len(health.classes) == 10


@pytest.mark.parametrize(
    "values",
    [np.array([3]), np.arange(1000), np.array([1, 1, 1]), np.r_[np.zeros(500), 1e6], np.zeros(0, int)],
)
def test_a_histogram_counts_every_value(values: np.ndarray) -> None:
    made = Histogram.of(values)
    assert sum(made.counts) == len(values) and len(made.edges) == len(made.counts) + 1 <= 33
    assert all(np.diff(made.edges) > 0)


def test_columns_are_shown_before_they_mean_anything(tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("one,two,three\na b c,d e f,1\ng h i,j k l,2\n")
    assert peek(path, 1) == {"one": ["a b c"], "two": ["d e f"], "three": ["1"]}
    with pytest.raises(lk.LabkitError, match=r"file or folder .* not found"):
        peek(tmp_path / "none.csv")


def test_health_is_plain() -> None:
    assert DataQuality(0).problems == ()


def test_many_rare_classes_are_one_problem():
    rows = lk.load([{"text": f"text {n}", "label": f"class {n % 20}"} for n in range(100)])
    (found,) = (problem for problem in check(rows).problems if problem.kind.startswith("rare"))
    assert (found.kind, found.count) == ("rare_classes", 20) and found.what.endswith(", …")
