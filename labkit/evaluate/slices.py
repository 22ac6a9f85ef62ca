"""Scores of slices of a split: by a column, by length, or by groups."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from labkit.core.errors import DataError
from labkit.evaluate.report import ClassificationReport
from labkit.i18n import _

_MOST = 50  # groups that get a row
#: The number that a slice's name is, or the first one of its range.
_LEADING = re.compile(r"-?[\d,]+(?:\.\d+)?(?:e[+-]?\d+)?(?=\u2013|$)")


def part_of(report: ClassificationReport, kept: Any) -> ClassificationReport:
    """The report of some of its rows: ``kept`` is bool [n], or numbers of rows in their order."""
    seen = np.unique(report.truth[report.counted]).tolist()
    texts = np.asarray(report.texts, object)[kept].tolist()
    return ClassificationReport(
        report.classes, report.truth[kept], report.probability[kept], texts, report.rows[kept],
        split=report.split, seed=report.seed, seen=seen,
    )  # fmt: skip


def slices(report: ClassificationReport, groups: Sequence[Any]) -> pd.DataFrame:
    """F1 and accuracy of every group of rows, with 95 % intervals; the weakest group first.

    ``f1`` is the macro average over the classes that occur in the group, so a group of one class is scored by
    that class alone; its interval is the bootstrap's. That of accuracy is Wilson's (1927), which is honest
    for few rows: 0 right of 1 gives 0 to 0.79. ``below`` is True if all of it is below the accuracy of all
    rows.

    Args:
        report: the whole.
        groups: [n], the group of every row; anything that becomes a string. Beyond 50 groups only the largest
            are shown.

    Raises:
        DataError: there are not as many groups as rows.
    """
    if len(groups) != len(report.truth):
        raise DataError(
            _("{n_groups} groups for {n_truth} rows."), n_groups=len(groups), n_truth=len(report.truth)
        )
    names = np.asarray(["" if group is None else str(group) for group in groups], object)
    found, counts = np.unique(names[report.counted].astype(str), return_counts=True)
    lines = {}
    for name in found[np.argsort(-counts, kind="stable")][:_MOST]:
        part = part_of(report, names == name)
        rows = int(part.counted.sum())
        right = round(part.scores["accuracy"] * rows)
        line: dict[str, Any] = {"rows": rows}
        for score, (low, high) in (
            ("f1", part.intervals["f1"]),
            ("accuracy", binomtest(right, rows).proportion_ci(method="wilson")),
        ):
            line |= {score: part.scores[score], f"{score}_low": low, f"{score}_high": high}
        lines[str(name)] = {**line, "below": bool(line["accuracy_high"] < report.scores["accuracy"])}
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("slice")
    return table.sort_values("accuracy", kind="stable") if len(table) else table


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Slices by numbers or ranges of numbers in ascending order; others as they are, weakest first."""
    numbers = [
        match and float(match[0].replace(",", "")) for match in map(_LEADING.match, map(str, table.index))
    ]
    if not any(numbers) or any(
        number is None and name != "nan" for number, name in zip(numbers, table.index, strict=True)
    ):
        return table
    return table.iloc[np.argsort([np.inf if number is None else number for number in numbers], kind="stable")]
