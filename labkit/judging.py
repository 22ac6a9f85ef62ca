"""After a run: compare it with another, see how sure it is and how right, and where it is weak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.base.errors import DataError, nearest
from labkit.judge.calibration import Calibration, calibrate
from labkit.judge.compare import Comparison
from labkit.judge.compare import compare as of_reports
from labkit.judge.report import Report
from labkit.judge.slices import by_length
from labkit.judge.slices import slices as of_groups

if TYPE_CHECKING:
    import pandas as pd

    from labkit.lab import Run


def compare(first: Run | Report, second: Run | Report, split: str = "test") -> Comparison:
    """Compare two runs (or reports) of classifiers on the rows of ``split`` that both were judged on.

    Both scores, what the first gains with a paired 95 % bootstrap interval, and McNemar's exact test; the runs may
    have been trained in any way on the same data.

    Raises:
        DataError: the runs share no rows, tell other classes, or do not classify.
    """
    names = [_named(each, number) for number, each in enumerate((first, second), 1)]
    reports = [each if isinstance(each, Report) else _report(each, split) for each in (first, second)]
    sources = [each.rows.source.get("source", "") for each in (first, second) if not isinstance(each, Report)]
    if len(sources) == 2 and all(sources) and sources[0] != sources[1]:
        raise DataError(f"{names[0]!r} learned from {sources[0]!r} and {names[1]!r} from {sources[1]!r}: other rows.")
    return of_reports(*reports, names=(names[0], names[1]))


def calibration(run: Run, split: str = "test", bins: int = 15) -> Calibration:
    """Confidence against accuracy on ``split``; ``.scaled`` is the same at the temperature fitted on validation."""
    return calibrate(_report(run, "validation"), _report(run, split), bins)


def slices(run: Run, by: Any = "length", split: str = "test") -> pd.DataFrame:
    """Scores of parts of a split, weakest first.

    Args:
        run: a run that classifies.
        by: a column of the rows, "length" (of the texts, in four parts), or a group for every row of the split.
        split: which rows.

    Raises:
        DataError: there is no such column.
    """
    part = run.rows[split]
    if not isinstance(by, str):
        groups = list(by)
    elif by in part.column_names:
        groups = part[by]
    elif by == "length" and "text" in part.column_names:
        groups = by_length(part["text"])
    else:
        names = [*part.column_names, "length"]
        raise DataError(f"the rows have no column {by!r}.{nearest(by, names)} They have {', '.join(names)}.")
    return of_groups(_report(run, split), np.asarray(groups, object).tolist())


def _report(run: Run, split: str) -> Report:
    report = run.evaluate(split, baselines=False)
    if not isinstance(report, Report):
        raise DataError(f"run {run.name!r} does not tell one of several classes; this is for those that do.")
    return report


def _named(each: Run | Report, number: int) -> str:
    return each.split + f" {number}" if isinstance(each, Report) else each.name
