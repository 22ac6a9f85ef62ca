"""Learning curves: the score of a model on nested subsets of the training rows, and what more labels are worth."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from labkit.core.config import checked_seed
from labkit.core.errors import ConfigError, DataError, RunError
from labkit.data.report import Note
from labkit.data.rows import Rows
from labkit.evaluate.report import ClassificationReport
from labkit.i18n import _, joined
from labkit.i18n.labels import score_name
from labkit.i18n.message import Message
from labkit.inference.predictor import Predictor
from labkit.inference.registry import pipeline_of
from labkit.runs.handle import RunHandle
from labkit.runs.store import Store
from labkit.search import judged, power_law
from labkit.search.results import main_score
from labkit.search.study import LOOK
from labkit.train.default_rates import BATCH
from labkit.train.experiment import Experiment

#: The smallest subset, as a share of the rows; the fewest training rows, and the fewest steps of a run on a subset.
SMALLEST, FEWEST, STEPS = 1 / 8, 40, 300
#: Scores of which 1 is the best; others have no bound that a curve could approach.
SHARES = ("f1", "accuracy", "r2")


@dataclass(frozen=True, eq=False)
class MeasuredCurve:
    """Scores by the number of training rows, and the power law fitted to them.

    Attributes:
        points: a row for each training: ``rows``, ``order`` and ``score``.
        law: the fitted law, :class:`~labkit.search.power_law.PowerLaw`.
        metric: of the scores.
        split: the rows that they are of.
    """

    points: pd.DataFrame
    law: power_law.PowerLaw
    metric: str
    split: str

    def at(self, rows: int) -> tuple[float, float, float]:
        """The expected score with so many training rows, and its 95 % band; up to four times the rows used."""
        return self.law.at(rows)

    def gain(self, more: int) -> tuple[float, float, float]:
        """What so many more labels are worth: the expected gain of the score, and its 95 % band."""
        return self.law.gain(more)

    @property
    def usual(self) -> int:
        """A number of further labels to speak of: 1,000, or as many as there are where these are few."""
        rows = int(self.law.sizes[-1])
        return 1000 if rows >= 500 else rows

    def sentence(self, more: int | None = None) -> Message:
        """What more labels are worth, in a sentence: the middle of the band and half its width."""
        more = self.usual if more is None else more
        low, high = self.gain(more)[1:]
        return _(
            "{more:,} more labels are worth {gain:+.1f} ± {half:.1f} points of {metric} (of 100).",
            more=more, gain=50 * (low + high), half=50 * (high - low), metric=score_name(self.metric),
        )  # fmt: skip

    def table(self) -> pd.DataFrame:
        """Mean score, and the law with its band, at each size and at 2 and 4 times the rows."""
        sizes = [int(size) for size in self.law.sizes]
        mean = dict(zip(sizes, self.law.scores.mean(0), strict=True))
        lines = {}
        for size in [*sizes, 2 * sizes[-1], 4 * sizes[-1]]:
            expected, low, high = self.at(size)
            lines[size] = {"score": mean.get(size, math.nan), "law": expected, "low": low, "high": high}
        return pd.DataFrame.from_dict(lines, orient="index").rename_axis("rows")


def subsets(label: np.ndarray, sizes: Sequence[int], seed: int) -> list[np.ndarray]:
    """Places of nested subsets of rows, in rising order: each holds all smaller ones, and the classes in their
    proportions as far as whole rows allow."""
    random = np.random.default_rng(seed)
    place = np.empty(len(label))
    for each in np.unique(label):
        rows = np.flatnonzero(label == each)
        place[random.permutation(rows)] = (np.arange(len(rows)) + random.random()) / len(rows)
    order = np.argsort(place, kind="stable")
    return [np.sort(order[:size]) for size in sizes]


def sizes_of(rows: int, count: int) -> list[int]:
    """So many numbers of rows, evenly spaced by ratio, from an eighth of the rows to all."""
    if count < power_law.FEWEST:
        raise ConfigError(
            _("sizes = {count!r} must be {least} or more."), count=count, least=power_law.FEWEST
        )
    smallest = max(SMALLEST * rows, 10)
    found = sorted({round(smallest * (rows / smallest) ** (place / (count - 1))) for place in range(count)})
    if rows < FEWEST or len(found) < power_law.FEWEST:
        raise DataError(
            _("a learning curve needs {least} labelled training rows or more; there are {rows}."),
            least=FEWEST, rows=rows,
        )  # fmt: skip
    return found


Learner = Callable[[Rows, str], tuple[str, float]]


def measure(
    rows: Rows, learner: Learner, *, sizes: int = 6, orders: int = 3, split: str = "validation", seed: int = 0
) -> MeasuredCurve:
    """Train a learner on nested subsets of the training rows, in several orders, and fit the law.

    Args:
        rows: split rows.
        learner: rows, and the name of a split → name and value of the score there.
        sizes: numbers of rows.
        orders: orders in which the rows are added; of each the subsets are nested.
        split: the rows that all are scored on, always the same.
        seed: of the orders.

    Raises:
        DataError: there are too few training rows, or none of the split.
    """
    seed = checked_seed(seed)
    if not isinstance(orders, int) or orders < 1:
        raise ConfigError(_("orders = {orders!r} must be a whole number of 1 or more."), orders=orders)
    if not len(rows.splits.get(split, ())):
        raise DataError(_("the rows have no split {split!r}."), split=split)
    train = rows["train"]
    label = np.asarray(train["label"])
    known = np.flatnonzero(label >= 0)
    counts = sizes_of(len(known), sizes)
    whole: float | None = None
    metric, lines = "", []
    for order in range(orders):
        strata = label[known] if rows.spec.problem_type == "class" else np.zeros(len(known))
        for size, places in zip(counts, subsets(strata, counts, seed + order), strict=True):
            if size == counts[-1] and whole is not None:
                lines.append((size, order, whole))  # the same rows, and the same score
                continue
            metric, score = learner(_with_train(rows, known[places]), split)
            lines.append((size, order, score))
            whole = score if size == counts[-1] else whole
    points = pd.DataFrame(lines, columns=["rows", "order", "score"])
    scores = points["score"].to_numpy().reshape(orders, len(counts))
    best = 1.0 if metric in SHARES else math.inf
    return MeasuredCurve(
        points, power_law.fit(np.asarray(counts), scores, best=best, seed=seed), metric, split
    )


def _with_train(rows: Rows, places: np.ndarray) -> Rows:
    """The rows with some of their training rows."""
    note = Note(None, None, "counted", _("training rows of a learning curve"), f"{len(places):,}")
    made = rows.with_splits({**rows.splits, "train": rows["train"].select(places)}, [note])
    return replace(made, source={})


def of_baseline(name: str, seed: int) -> Learner:
    """A baseline as a learner."""

    def learn(rows: Rows, split: str) -> tuple[str, float]:
        makers = judged.baselines_of(rows, seed)
        if name not in makers:
            raise ConfigError(
                _("there is no baseline {name!r} for these rows; there are {known}."), name=name,
                known=joined(_(", "), makers),
            )  # fmt: skip
        fitted = makers[name]()
        if fitted is None:
            raise DataError(_("there is nothing to learn from in these rows."))
        return _scored(rows, split, fitted.answer(rows[split]))

    return learn


def of_experiment(store: Store, experiment: Experiment) -> Learner:
    """An experiment as a learner: every subset is a run of the lab folder, of the same steps at least as a
    short run has, whatever its rows."""

    def learn(rows: Rows, split: str) -> tuple[str, float]:
        count = len(rows["train"])
        made = _long_enough(experiment, count)
        name = f"{experiment.name or 'learning curve'}: {count:,} rows"
        run = RunHandle.create(store, made.replace(name=name), rows)
        run.start()
        try:
            while not run.info.over:
                time.sleep(LOOK)
        except KeyboardInterrupt:
            run.suspend()
            raise
        run.wait()
        if run.status != "finished":
            raise RunError(
                _("run {run!r} was stopped: a learning curve needs all of its runs."), run=run.name
            )
        return _scored(rows, split, pipeline_of(run, Predictor).predict_encoded(rows[split]), made)

    return learn


def _long_enough(experiment: Experiment, rows: int) -> Experiment:
    train = experiment.train
    each = max(1, rows // (train.batch_size or BATCH))
    if train.epochs is None or train.epochs * each >= STEPS:
        return experiment
    return experiment.replace(train=train.replace(epochs=math.ceil(STEPS / each)))


def _scored(
    rows: Rows, split: str, answers: np.ndarray, experiment: Experiment | None = None
) -> tuple[str, float]:
    report: Any = judged.report_of(rows, split, answers, experiment.task if experiment else None)
    metric = main_score(report) if isinstance(report, ClassificationReport) or report.better > 0 else "r2"
    return metric, report.scores[metric]
