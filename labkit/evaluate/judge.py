"""Several models judged on the same rows: scores, paired gains, size and time of an answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from labkit.core.errors import ConfigError, DataError
from labkit.data.rows import Rows
from labkit.evaluate.evaluate import make_report
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.run_report import predictor_of
from labkit.i18n import _
from labkit.inference.predictor import Predictor
from labkit.runs.handle import RunHandle

if TYPE_CHECKING:
    from datasets import Dataset

#: Single answers that a latency is measured by.
ANSWERS = 20


def judge(models: Mapping[str, Predictor | RunHandle], rows: Rows, split: str = "test") -> pd.DataFrame:
    """Judge several models on the same rows.

    Args:
        models: name → run or predictor; the others are compared with the first.
        rows: rows with the classes of the models, cleaned as they read them, such as ``run.rows``.
        split: which of them.

    Returns:
        A row a model: its main score with a 95 % interval (``low``, ``high``); ``gain`` on the first with a paired
        interval (``gain_low``, ``gain_high``); ``parameters``, ``bytes`` of the weights, and ``ms``, the median time
        of a single answer.

    Raises:
        ConfigError: no models.
        DataError: no such rows, or models of other classes.
    """
    if not models:
        raise ConfigError(_("give at least one model."))
    opened = {
        name: predictor_of(each) if isinstance(each, RunHandle) else each for name, each in models.items()
    }
    part, reports = rows[split], {}
    for name, predictor in opened.items():
        if predictor.classes != rows.spec.classes:
            raise DataError(
                _("model {name!r} predicts {classes}; the rows have {wanted}."), name=name,
                classes=", ".join(predictor.classes), wanted=", ".join(rows.spec.classes),
            )  # fmt: skip
        answers = predictor.predict_encoded(part)
        reports[name] = make_report(
            rows, split, predictor.classes, answers, predictor.experiment.task, baselines=False
        )
    first = next(iter(reports))
    main = "f1" if isinstance(reports[first], ClassificationReport) else reports[first].main
    lines, times = {}, _milliseconds(opened, part)
    for name, report in reports.items():
        low, high = report.intervals[main]
        line = {main: report.scores[main], "low": low, "high": high}
        if name != first:
            compared = report.compare({first: reports[first]}).loc[first]
            found = {str(key).removeprefix(f"{main}_"): value for key, value in compared.items()}
            line |= {key: found[key] for key in ("gain", "gain_low", "gain_high")}
        lines[name] = line | _costs(opened[name]) | {"ms": times[name]}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("model")


def _costs(predictor: Predictor) -> dict[str, float]:
    """Parameters, and bytes of the weights."""
    return {"parameters": predictor.parameters, "bytes": predictor.bytes}


def _milliseconds(opened: Mapping[str, Predictor], part: Dataset) -> dict[str, float]:
    """The median time of a single answer by model. The models take turns, so that what else the machine does slows
    all alike; the first turn compiles."""
    seconds: dict[str, list[float]] = {name: [] for name in opened}
    rows = [part.select([place]) for place in range(min(len(part), ANSWERS))]
    for turn in range(2):
        for row in rows:
            for name, predictor in opened.items():
                begin = time.perf_counter()
                predictor.predict_encoded(row)
                if turn:
                    seconds[name].append(time.perf_counter() - begin)
    return {name: 1e3 * float(np.median(each)) for name, each in seconds.items()}
