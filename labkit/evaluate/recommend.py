"""Evaluation of recommendations: full ranking of all items for each user of later rows, with baselines.

The model knows the rows before one time alone. Of a user of the evaluated split, the last fifth of the items in it (one
at least) is to be found; all that the user chose before them is the history. So users without training rows count too,
and no later row is used for an earlier one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from labkit.core.config import checked_seed
from labkit.core.errors import DataError
from labkit.data.arrow import numbers
from labkit.data.interactions import Histories
from labkit.data.rows import Rows
from labkit.evaluate.compared_report import ComparedReport
from labkit.evaluate.intervals import Interval, percentiles
from labkit.evaluate.shown import SCORED, Table
from labkit.i18n import _
from labkit.inference.recommending import RecommendPipeline
from labkit.inference.registry import pipeline_of

if TYPE_CHECKING:
    from labkit.runs.handle import RunHandle

#: Recommendations that are looked at; share of the items of a user that are to be found; resamples.
TOP, HELD_OUT, RESAMPLES = 10, 0.2, 1000
#: Neighbours of an item; regularisation of EASE per training user.
NEIGHBOURS, RIDGE = 100, 0.5
POPULAR, NEIGHBOUR, EASE = _("popularity"), _("item neighbours"), _("EASE")


@dataclass(frozen=True, eq=False)
class Questions:
    """What is to be found: of each user the history and the items that follow, numbers 1 … items.

    Attributes:
        users: names.
        histories, wanted: i32[n] of each user; what is wanted is not in the history.
        items: size of the catalogue.
        unknown: wanted items that the catalogue lacks; no recommendation can find them.
        left_out: users without a history, or of whom nothing wanted is in the catalogue.
    """

    users: tuple[str, ...]
    histories: tuple[np.ndarray, ...]
    wanted: tuple[np.ndarray, ...]
    items: int
    unknown: int
    left_out: int


def questions_of(rows: Rows, split: str, catalogue: Mapping[str, int]) -> Questions:
    """The users of a split with their histories. Raises :class:`DataError` where none has one."""
    start = float(numbers(rows[split], "time", np.float64).min())
    until = float(numbers(rows[split], "time", np.float64).max())
    parts = [part for part in rows.splits.values() if numbers(part, "time", np.float64).min() <= until]
    found = Histories.of(parts, catalogue)
    users, histories, wanted, unknown, left_out = [], [], [], 0, 0
    for number, name in enumerate(found.users):
        here = slice(found.offsets[number], found.offsets[number + 1])
        item, time = found.item[here], found.time[here]
        late = int((time >= start).sum())
        if not late:
            continue
        cut = len(item) - max(1, int(HELD_OUT * late))
        past, after = item[:cut][item[:cut] > 0], item[cut:]
        known = np.setdiff1d(after[after > 0], past)
        unknown += int((after == 0).sum())
        if len(past) and len(known):
            users.append(name)
            histories.append(past)
            wanted.append(known)
        else:
            left_out += 1
    if not users:
        raise DataError(_("no user of {split} has an earlier item and one to find."), split=split)
    return Questions(tuple(users), tuple(histories), tuple(wanted), len(catalogue), unknown, left_out)


class RecommendReport(ComparedReport):
    """Ranks of the wanted items of each user among all items but those of the history.

    ``scores`` f32[users, items]. Scores: ``ndcg`` of the first ten, ``hit`` (whether one of them is wanted), ``recall``
    (the share of the wanted items among them), ``mrr`` (1 ÷ rank of the first that is wanted, among all): means over
    users; ``coverage``, the share of the catalogue that is recommended to somebody. Intervals resample the users.
    """

    headlines: ClassVar[tuple[str, ...]] = ("ndcg", "hit", "recall", "mrr", "coverage")
    main: ClassVar[str] = "ndcg"
    better: ClassVar[int] = 1

    def __init__(self, questions: Questions, scores: np.ndarray, *, split: str = "test", seed: int = 0):
        self.questions, self.split, self.seed = questions, split, checked_seed(seed)
        self.baselines: dict[str, Self] = {}
        shape = (len(questions.users), questions.items)
        if scores.shape != shape:
            raise DataError(
                _("scores of shape {shape}; these users need {wanted}."), shape=scores.shape, wanted=shape
            )
        if np.isnan(scores).any():
            raise DataError(_("some scores are not finite: training diverged."))
        scores = scores.astype(np.float64)
        for user, history in enumerate(questions.histories):
            scores[user, history - 1] = -np.inf
        self.top = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
        self.ranks = [_ranks(line, wanted - 1) for line, wanted in zip(scores, questions.wanted, strict=True)]

    @cached_property
    def per_user(self) -> pd.DataFrame:
        """``ndcg``, ``hit``, ``recall``, ``mrr`` and the number of wanted items of every user."""
        discount = 1 / np.log2(np.arange(2, TOP + 2))
        lines = []
        for ranks in self.ranks:
            hits = ranks[ranks <= TOP]
            best = discount[: min(TOP, len(ranks))].sum()
            lines.append({"ndcg": discount[hits - 1].sum() / best, "hit": float(len(hits) > 0),
                          "recall": len(hits) / len(ranks), "mrr": 1 / ranks.min(), "wanted": len(ranks)})  # fmt: skip
        return pd.DataFrame(lines, index=pd.Index(self.questions.users, name="user"))

    def _scored(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Scores [r] with each user taken ``weights`` [r, users] times."""
        values = self.per_user[["ndcg", "hit", "recall", "mrr"]]
        means = weights @ values.to_numpy() / weights.sum(1, keepdims=True)
        users = np.repeat(np.arange(len(self.top)), self.top.shape[1])
        shown = csr_matrix(
            (np.ones(self.top.size), (users, self.top.reshape(-1))), (len(self.top), self.questions.items)
        )
        covered = ((weights @ shown) > 0).mean(1)
        return {**dict(zip(values.columns, means.T, strict=True)), "coverage": np.asarray(covered)}

    @cached_property
    def scores(self) -> dict[str, float]:
        """Every score by name."""
        return {name: float(each[0]) for name, each in self._scored(np.ones((1, len(self.top)))).items()}

    @cached_property
    def _draws(self) -> dict[str, np.ndarray]:
        count = len(self.top)
        random = np.random.default_rng(self.seed)
        return self._scored(random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES))

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """95 % bootstrap intervals of every score, from resampling the users. That of the coverage is biased
        downwards: a resample has fewer different users."""
        return {name: percentiles(each) for name, each in self._draws.items()}

    def _has_rows_of(self, other: Self) -> bool:
        return self.questions.users == other.questions.users and self.questions.items == other.questions.items

    @property
    def rows(self) -> np.ndarray:
        """Number of each user."""
        return np.arange(len(self.questions.users))

    def predictions(self) -> pd.DataFrame:
        """The first ten of every user, as numbers of the catalogue from 0."""
        return pd.DataFrame(
            {
                "user": self.questions.users,
                **{f"item {n + 1}": self.top[:, n] for n in range(self.top.shape[1])},
            }
        )

    def mistakes(self, n: int = 10) -> pd.DataFrame:
        """The ``n`` users with the worst first wanted item."""
        return self.per_user.sort_values("mrr", kind="stable").head(n).reset_index()

    def _heading(self) -> str:
        found = self.questions
        return (
            f"{self.split}: {len(found.users):,} users, {sum(map(len, found.wanted)):,} items to find among "
            f"{found.items:,}; {found.unknown:,} items not in the catalogue, {found.left_out:,} users left out"
        )

    def _tables(self) -> list[Table]:
        scored = [[name, f"{self.scores[name]:.4f}", "{:.4f} to {:.4f}".format(*self.intervals[name])]
                  for name in self.headlines]  # fmt: skip
        tables: list[Table] = [(SCORED, scored)]
        if self.baselines:
            lines = []
            for name, line in self.compare(self.baselines).to_dict(orient="index").items():
                value = "{:.4f}  ({:.4f} to {:.4f})".format(
                    *(line[f"ndcg{end}"] for end in ("", "_low", "_high"))
                )
                gain = ""
                if name != "model":
                    gain = "{:+.4f}  ({:+.4f} to {:+.4f})".format(
                        *(line[f"gain{end}"] for end in ("", "_low", "_high"))
                    )
                lines.append([str(name), value, gain])
            tables.append((["", "ndcg (95 % interval)", "gain of the model"], lines))
        return tables

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._heading()}, {self.main} {self.scores[self.main]:.4f})"


def _ranks(scores: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Ranks from 1 of wanted items i64[n]; of equal scores the lower number comes first."""
    above = (scores[None] > scores[wanted][:, None]).sum(1)
    ties = (scores[None] == scores[wanted][:, None]) & (np.arange(len(scores))[None] < wanted[:, None])
    return 1 + above + ties.sum(1)


# --- baselines ------------------------------------------------------------------------------------------------------


def interactions_of(histories: Histories, items: int) -> csr_matrix:
    """Users × items, 1 where a user chose an item."""
    user = np.repeat(np.arange(len(histories)), np.diff(histories.offsets))
    there = histories.item > 0
    made = csr_matrix(
        (np.ones(int(there.sum())), (user[there], histories.item[there] - 1)), (len(histories), items)
    )
    made.data[:] = 1.0
    return made


def baseline_scores(train: csr_matrix, histories: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    """Scores f64[users, items] of each baseline: how often an item was chosen; sums of cosines with the items of the
    history, the :data:`NEIGHBOURS` nearest (Sarwar et al. 2001); EASE, a closed form (Steck 2019, arXiv 1905.03375)."""
    users, items = train.shape
    past = np.zeros((len(histories), items))
    for row, history in enumerate(histories):
        past[row, history - 1] = 1.0
    counts = np.asarray(train.sum(0)).reshape(-1)
    gram = np.asarray((train.T @ train).todense())
    length = np.sqrt(np.maximum(counts, 1))
    near = gram / length[:, None] / length[None]
    np.fill_diagonal(near, 0.0)
    if items > NEIGHBOURS:
        near[near < np.partition(near, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS][:, None]] = 0.0
    np.fill_diagonal(gram, counts + RIDGE * users)
    inverse = np.linalg.inv(gram)
    weights = -inverse / np.diag(inverse)[None]
    np.fill_diagonal(weights, 0.0)
    return {POPULAR: np.tile(counts, (len(histories), 1)), NEIGHBOUR: past @ near.T, EASE: past @ weights}


def recommend_report(
    run: RunHandle, rows: Rows, split: str = "test", baselines: bool = True
) -> RecommendReport:
    """The report of a run on a split of its rows, with popularity, item neighbours and EASE beside it."""
    pipeline: RecommendPipeline = pipeline_of(run, RecommendPipeline)
    catalogue = pipeline.processor.numbers
    questions = questions_of(rows, split, catalogue)
    report = RecommendReport(questions, pipeline.scores(questions.histories), split=split)
    if not baselines:
        return report
    train = interactions_of(Histories.of([rows["train"]], catalogue), len(catalogue))
    others: Any = {
        name: RecommendReport(questions, found, split=split)
        for name, found in baseline_scores(train, questions.histories).items()
    }
    return report.with_baselines(others)
