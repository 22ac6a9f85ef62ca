"""Figure of runs: score against cost, with the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence

from labkit.core.text import one_line
from labkit.core.units import compact, scaled
from labkit.i18n import translate
from labkit.i18n.labels import score_name
from labkit.i18n.message import Message
from labkit.runs.costs import COSTS, RunCost, pareto_front
from labkit.tasks import LOWER
from labkit.viz.figure import Axis, FigureSpec, Line, Plot
from labkit.viz.words import language as language_of
from labkit.viz.words import word

#: Costs that differ by this factor are drawn on a logarithmic axis.
WIDE = 30.0


def score_against_cost(
    points: Sequence[RunCost],
    metric: str,
    cost: str,
    data: str,
    language: str | None = None,
    label: Message | None = None,
    decision: Message | None = None,
) -> FigureSpec:
    """A point for each run; those on the Pareto front are joined and named. ``label``: of a cost that runs do
    not have. ``decision``: what the expected cost of decisions is called, where that takes the place of a score."""
    language = language_of(language)
    front = pareto_front(points, metric in LOWER or decision is not None)
    rest = [point for point in points if point not in front]
    costs, scores = [point.cost for point in points], [point.score for point in points]
    label = translate(label or COSTS[cost][0], language)
    score = word("validation_score", language, metric=translate(score_name(metric), language), data=data)
    score = score if decision is None else translate(decision, language)
    names = [one_line(point.name, 24) for point in front]
    marks = [
        Line(
            [p.cost for p in rest], [p.score for p in rest], word("other_runs", language) if rest else "", 7,
            joined=False, marker="circle", notes=_notes(rest),
        ),
        Line(
            [p.cost for p in front], [p.score for p in front], word("pareto_front", language), 1, marker="circle",
            texts=names, notes=_notes(front),
        ),
    ]  # fmt: skip
    wide = bool(costs) and max(costs) / min(costs) > WIDE
    told = "; ".join(_notes(front))
    x = Axis(label, log=wide, limits=_limits(costs, wide))
    spread = (max(scores) - min(scores) or abs(max(scores)) * 0.1 or 0.1) if scores else 1.0
    y = Axis(score, limits=(min(scores) - 0.1 * spread, max(scores) + 0.2 * spread) if scores else (0.0, 1.0))
    return FigureSpec([Plot(marks, "", x, y)], f"{score}. {word('pareto_front', language)}: {told}", 620, 280)


def _notes(points: Sequence[RunCost]) -> list[str]:
    return [f"{one_line(p.name, 60)}: {scaled(p.cost)}, {compact(p.score)}" for p in points]


def _limits(costs: Sequence[float], wide: bool) -> tuple[float, float]:
    """The ends of the axis, with room for the names at the points."""
    if not costs:
        return 0.0, 1.0
    low, high = min(costs), max(costs)
    if wide:
        return 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))
    room = 0.15 * ((high - low) or high)
    return max(0.0, low - room), high + room
