"""Base class of multi-label and regression reports: scores as sums over rows, intervals, tables."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from labkit.core.config import checked_seed
from labkit.core.errors import DataError
from labkit.core.text import one_line
from labkit.evaluate.compared_report import ComparedReport
from labkit.evaluate.intervals import Interval, finite_percentiles, or_wilson
from labkit.evaluate.shown import SCORED, Table
from labkit.i18n import _

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_DRAWN_AT_ONCE = 2**22  # numbers held at a time: 32 MB
RESAMPLES = 1000


class RowReport(ComparedReport):
    """Answers beside the truth on one split; see its subclasses.

    ``truth`` and ``answers``: f32 [n, k]; ``counted``: bool [n], rows whose truth is known; ``names``: of the
    columns. Raises DataError when lengths disagree or an answer is not finite.
    """

    headlines: ClassVar[tuple[str, ...]]  # scores shown first
    main: ClassVar[str]  # the score that models are compared by
    better: ClassVar[int] = 1  # -1 where a smaller one is better
    shares: ClassVar[tuple[str, ...]] = ()  # scores that are shares of the rows

    def __init__(
        self,
        names: Sequence[str],
        truth: ArrayLike | None,
        answers: ArrayLike,
        counted: ArrayLike,
        texts: Sequence[str] | None = None,
        rows: ArrayLike | None = None,
        *,
        split: str = "test",
        seed: int = 0,
    ):
        self.names, self.split, self.seed = tuple(map(str, names)), split, checked_seed(seed)
        self.truth, self.answers = np.asarray(truth, np.float64), np.asarray(answers, np.float64)
        self.counted = np.asarray(counted, bool)
        n = len(self.counted)
        self.texts = [""] * n if texts is None else list(texts)
        self.rows = np.arange(n) if rows is None else np.asarray(rows, np.int64)
        self.baselines: dict[str, Self] = {}  # shown beside this report; see `beside`
        for what, values in (("truth", self.truth), ("answers", self.answers)):
            if values.shape != (n, len(self.names)):
                raise DataError(
                    _("{what} has shape {shape}; {n} rows of {n_names} need another."),
                    what=what, shape=values.shape, n=n, n_names=len(self.names),
                )  # fmt: skip
        if len(self.texts) != n or len(self.rows) != n:
            raise DataError(
                _("there are {n_texts} texts and {n_rows} row numbers for {n} rows."),
                n_texts=len(self.texts), n_rows=len(self.rows), n=n,
            )  # fmt: skip
        if (wrong := ~np.isfinite(self.answers).all(-1)).any():
            raise DataError(
                _("{n_wrong} of {n} predictions are not finite: training diverged."), n_wrong=wrong.sum(), n=n
            )

    # --- what a subclass tells --------------------------------------------------------------------------------

    def _scored(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Scores [r] of the counted rows, each taken ``weights`` [r, n] times."""
        raise NotImplementedError

    def mistakes(self, n: int = 10) -> pd.DataFrame:
        """The ``n`` counted rows that were answered worst, the worst first."""
        raise NotImplementedError

    def _answer_columns(self) -> dict[str, Any]:
        """Truth and answer of every row, by column."""
        raise NotImplementedError

    @property
    def per_name(self) -> pd.DataFrame:
        """Scores of every label, or of every number."""
        raise NotImplementedError

    # --- what follows from it ---------------------------------------------------------------------------------

    def predictions(self) -> pd.DataFrame:
        """Every row with its truth and its prediction; ``row`` is the source row."""
        return pd.DataFrame({"row": self.rows, "text": self.texts, **self._answer_columns()})

    @cached_property
    def scores(self) -> dict[str, float]:
        """Every score on all counted rows; NaN where there are none."""
        found = self._scored(np.ones((1, int(self.counted.sum()))))
        return {name: float(value[0]) for name, value in found.items()}

    @cached_property
    def _draws(self) -> dict[str, np.ndarray]:
        """Every score in each of 1,000 resamples of the counted rows, the same resamples for one seed and
        split."""
        count = int(self.counted.sum())
        if not count:
            return {name: np.full(RESAMPLES, np.nan) for name in self.scores}
        random, at_once, parts = np.random.default_rng(self.seed), max(1, _DRAWN_AT_ONCE // count), []
        for start in range(0, RESAMPLES, at_once):
            size = min(at_once, RESAMPLES - start)
            parts.append(self._scored(random.multinomial(count, np.full(count, 1 / count), size=size)))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """95 % bootstrap intervals (low, high) of every score, from 1,000 resamples of the rows (Efron 1979);
        see :func:`~labkit.evaluate.intervals.or_wilson` for scores that never vary."""
        found = {name: finite_percentiles(values) for name, values in self._draws.items()}
        rows = int(self.counted.sum())
        return {
            name: or_wilson(edges, rows) if name in self.shares else edges for name, edges in found.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values (NaN as None), without the texts."""
        plain = lambda value: None if np.isnan(value) else float(value)  # noqa: E731
        return {
            "split": self.split, "seed": self.seed, "names": list(self.names), "rows": len(self.counted),
            "unlabelled": int((~self.counted).sum()),
            "scores": {name: plain(value) for name, value in self.scores.items()},
            "intervals": {name: [plain(low), plain(high)] for name, (low, high) in self.intervals.items()},
            "per_name": {name: line.tolist() for name, line in self.per_name.items()},
        }  # fmt: skip

    def _has_rows_of(self, other: Self) -> bool:
        return self.names == other.names and all(
            np.array_equal(getattr(self, part), getattr(other, part)) for part in ("rows", "truth", "counted")
        )

    # --- what is shown ----------------------------------------------------------------------------------------

    def _heading(self) -> str:
        left_out = int((~self.counted).sum())
        told = f", {left_out:,} unlabelled left out" if left_out else ""
        return f"{self.split}: {len(self.counted):,} rows{told}"

    def _tables(self) -> list[Table]:
        scored = [
            [name, f"{self.scores[name]:.4g}", "{:.4g} to {:.4g}".format(*self.intervals[name])]
            for name in self.headlines
        ]
        tables: list[Table] = [(SCORED, scored)]
        if self.baselines:
            lines: list[list[str]] = []
            for name, line in self.compare(self.baselines).to_dict(orient="index").items():
                value = "{:.4g}  ({:.4g} to {:.4g})".format(
                    *(line[self.main + end] for end in ("", "_low", "_high"))
                )
                gain = ""
                if name != "model":
                    gain = f"{line['gain']:+.4g}  ({line['gain_low']:+.4g} to {line['gain_high']:+.4g})"
                lines.append([str(name), value, gain])
            tables.append((["", f"{self.main} (95 % interval)", "gain of the model"], lines))
        frame = self.per_name.head(20)
        each = [
            [one_line(str(name), 40), *(f"{value:.4g}" for value in line)]
            for name, line in zip(frame.index, frame.to_numpy(), strict=True)
        ]
        return [*tables, ([str(frame.index.name or ""), *map(str, frame.columns)], each)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._heading()}, {self.main} {self.scores[self.main]:.4g})"

    def _wrong(self) -> Table:
        wrong = self.mistakes(5)
        return list(wrong.columns), [
            [one_line(value, 160) if isinstance(value, str) else f"{value:.4g}" for value in line]
            for line in wrong.astype(object).itertuples(index=False)
        ]
