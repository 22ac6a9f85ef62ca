"""Reports of which one is compared with others on the same rows: scores, intervals and paired gains."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from labkit.core.errors import DataError
from labkit.evaluate.intervals import Interval, finite_percentiles
from labkit.evaluate.shown import TableReport
from labkit.evaluate.verdict import first_line
from labkit.i18n import _


class ComparedReport(TableReport):
    """Base class of reports with one main score, compared on the same resamples.

    Attributes:
        main: the score that models are compared by.
        better: -1 where a smaller one is better.
        scores: every score by name.
        intervals: their 95 % intervals.
        baselines: reports shown beside this one, by name.
    """

    main: ClassVar[str]
    better: ClassVar[int] = 1
    scores: Mapping[str, float]
    intervals: Mapping[str, Interval]
    baselines: dict[str, Self]
    _draws: Mapping[
        str, np.ndarray
    ]  # every score in each resample, the same resamples for one seed and split

    def compare(self, baselines: Mapping[str, Self], name: str = "model") -> pd.DataFrame:
        """This report and each baseline in a row: the main score with its interval, and what the model gains
        on it.

        The gain is positive where the model is better, with a paired interval: both are resampled on the same
        rows. Raises DataError when the rows are not the same.
        """
        table = {name: self._line()}
        for other, report in baselines.items():
            self._check_pair(other, report)
            table[other] = report._line() | self._gains(report)
        return pd.DataFrame.from_dict(table, orient="index")

    def with_baselines(self, baselines: Mapping[str, Self]) -> Self:
        """This report, including the baselines from now on. Raises as :meth:`compare`."""
        for name, report in baselines.items():
            self._check_pair(name, report)
        self.baselines = dict(baselines)
        return self

    @property
    def verdict(self) -> str:
        """That a baseline has the better main score; empty where none has."""
        if not self.baselines:
            return ""
        return first_line(self.compare(self.baselines), list(self.baselines), self.main, self.better)

    def _line(self) -> dict[str, float]:
        """The main score with its interval, as a row of :meth:`compare`."""
        low, high = self.intervals[self.main]
        return {self.main: self.scores[self.main], f"{self.main}_low": low, f"{self.main}_high": high}

    def _gains(self, other: Self) -> dict[str, float]:
        """What this report gains on another, as columns of :meth:`compare`."""
        return self._gain(other, self.main, "gain")

    def _gain(self, other: Self, score: str, column: str) -> dict[str, float]:
        low, high = finite_percentiles(self.better * (self._draws[score] - other._draws[score]))
        gain = self.better * (self.scores[score] - other.scores[score])
        return {column: gain, f"{column}_low": low, f"{column}_high": high}

    @abstractmethod
    def _has_rows_of(self, other: Self) -> bool:
        """Whether another report is of the same rows."""

    def _check_pair(self, name: str, other: Self) -> None:
        if not self._has_rows_of(other):
            raise DataError(
                _("{name!r} was evaluated on other rows than this report: evaluate both on the same split."),
                name=name,
            )
