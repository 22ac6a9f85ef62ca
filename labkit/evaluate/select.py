"""Model selection: the cheapest model that is not significantly worse than the best.

 Good enough is what loses to the best no more than one standard error of the difference: the rule of Breiman,
Friedman, Olshen and Stone (Classification and Regression Trees, 1984, section 3.4.3). Here the difference is
paired: both models are evaluated on the same resampled rows, so difficulty common to both cancels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from labkit.core.errors import ConfigError, DataError, nearest
from labkit.core.text import escape
from labkit.evaluate.evaluate import EvaluationReport
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.report_base import RowReport
from labkit.i18n import _

SCORES = ("f1", "accuracy")
_WIDTH = 2 * 1.96  # a 95 % interval in standard errors


@dataclass(frozen=True, eq=False)
class Sizing:
    """Models by their cost, and the one to take.

    Attributes:
        table: a row a model, the cheapest first: ``cost``, the score with its 95 % interval (``low``,
            ``high``), ``behind`` (what it loses to the best) with its standard ``error``, whether it is good
            ``enough``, and whether it is on the ``front``: no other is as cheap and as good.
        choice: the name of the cheapest that is good enough.
        best: the name of the model with the best score.
        score: "f1" or "accuracy".
    """

    table: pd.DataFrame
    choice: str
    best: str
    score: str

    def __repr__(self) -> str:
        return f"<take {self.choice!r}: {self._why()}>"

    def _why(self) -> str:
        row, best = self.table.loc[self.choice], self.table.loc[self.best]
        if self.choice == self.best:
            return f"{self.score} {row[self.score]:.3f}, and nothing cheaper is as good"
        share = row["cost"] / best["cost"] if best["cost"] else 1.0
        return (
            f"{self.score} {row[self.score]:.3f} at {share:.1%} of the cost of {self.best!r}, which has "
            f"{best[self.score]:.3f}"
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self)[1:-1])}</p>{self.table.to_html(float_format='{:.4g}'.format)}"


def right_size(
    reports: Mapping[str, ClassificationReport] | Mapping[str, RowReport] | Mapping[str, EvaluationReport],
    cost: Mapping[str, float],
    *,
    score: str | None = "f1",
    slack: float = 0.0,
) -> Sizing:
    """The cheapest of several models that is good enough.

    Args:
        reports: name → report; all on the same rows. Those of validation: what is chosen on test rows is no
        test.
        cost: name → what the model costs in any unit: parameters, FLOPs for an example, seconds.
        score: "f1" or "accuracy"; None: the score that such reports are compared by, which is the mean
            absolute error of numbers.
        slack: what may be lost to the best for the sake of cheapness, where that is more than a standard
            error.

    Raises:
        ConfigError: an unknown score, or a cost that is missing, negative or not a number.
        DataError: no reports, or reports on other rows.
    """
    if score is not None and score not in SCORES:
        raise ConfigError(
            _("score = {score!r} is not one of {known}.{hint}"),
            score=score, known=", ".join(SCORES), hint=nearest(score, SCORES),
        )  # fmt: skip
    if not reports:
        raise DataError(_("there are no reports to choose from: give one for each model, by name."))
    for name in reports:
        if name not in cost:
            raise ConfigError(
                _("no cost given for {name!r}.{hint} Costs: {cost}."),
                name=name, hint=nearest(name, cost), cost=", ".join(cost) or _("none"),
            )  # fmt: skip
        if not (math.isfinite(cost[name]) and cost[name] >= 0):
            raise ConfigError(
                _("the cost of {name!r} is {cost}; it must be a number of 0 or more."),
                name=name,
                cost=cost[name],
            )
    each: Mapping[str, Any] = reports
    first = next(iter(each.values()))
    better = 1 if isinstance(first, ClassificationReport) else first.better
    if not isinstance(first, ClassificationReport):
        score, gain = first.main, "gain"
    else:
        score = score or "f1"
        gain = f"{score}_gain"
    best = max(each, key=lambda name: (better * each[name].scores[score], -cost[name]))
    gains = each[best].compare({name: report for name, report in each.items() if name != best})
    lines = {}
    for name in sorted(each, key=lambda name: (cost[name], -better * each[name].scores[score])):
        line: Mapping[Any, Any] = gains.loc["model" if name == best else name].to_dict()
        behind = 0.0 if name == best else float(line[gain])
        width = 0.0 if name == best else float(line[f"{gain}_high"] - line[f"{gain}_low"])
        lines[name] = {
            "cost": cost[name], score: line[score], "low": line[f"{score}_low"], "high": line[f"{score}_high"],
            "behind": behind, "error": width / _WIDTH, "enough": behind <= max(slack, width / _WIDTH),
        }  # fmt: skip
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("model")
    values = better * table[score].to_numpy()
    table["front"] = values > np.append(-np.inf, np.maximum.accumulate(values)[:-1])
    return Sizing(table, str(table.index[table["enough"]][0]), best, score)


def right_size_by_loss(
    losses: Mapping[str, np.ndarray], cost: Mapping[str, float], slack: float = 0.0
) -> Sizing:
    """The cheapest of several models whose decisions cost no more than those of the best and one standard error of
    the paired difference.

    Args:
        losses: name → cost of the decision on each row [n], all on the same rows of validation.
        cost: name → what the model itself costs in any unit.
        slack: what a decision may cost more for the sake of a cheaper model, where that is more than a standard
            error.
    """
    means = {name: float(each.mean()) for name, each in losses.items()}
    best = min(means, key=lambda name: (means[name], cost[name]))
    lines = {}
    for name in sorted(means, key=lambda name: (cost[name], means[name])):
        each, behind = losses[name], losses[name] - losses[best]
        half, error = (1.96 * float(values.std()) / math.sqrt(len(values)) for values in (each, behind))
        lines[name] = {
            "cost": cost[name], "loss": means[name], "low": means[name] - half, "high": means[name] + half,
            "behind": means[name] - means[best], "error": error / 1.96,
            "enough": means[name] - means[best] <= max(slack, error / 1.96),
        }  # fmt: skip
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("model")
    values = -table["loss"].to_numpy()
    table["front"] = values > np.append(-np.inf, np.maximum.accumulate(values)[:-1])
    return Sizing(table, str(table.index[table["enough"]][0]), best, "loss")
