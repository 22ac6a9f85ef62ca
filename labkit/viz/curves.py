"""Figures of runs: their curves, a schedule of the learning rate, a search for one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labkit.i18n import translate
from labkit.viz.figure import QUARTERS, Axis, FigureSpec, Line, Plot, Rule
from labkit.viz.series import Series, packed, second, ticks
from labkit.viz.words import language as language_of
from labkit.viz.words import word

if TYPE_CHECKING:
    from labkit.train.lr_finder import RateSearchResult
    from labkit.train.optimizer import Optimizer

SPLITS = ("train", "validation")
#: Points up to which each is marked.
FEW = 40


class RunCurves(NamedTuple):
    """A run in a figure: its series, its name, its colour (0: one for each split), what its keys begin with."""

    series: Series
    label: str = ""
    colour: int = 0
    prefix: str = ""


def baseline(summary: Mapping[str, Any], language: str) -> dict[str, Rule]:
    """Metric → the score of a constant prediction on the validation rows, as a line across its chart.

    Args:
        summary: of the run; its task may have no such baseline.
        language: "en" or "zh".
    """
    if not (constant := summary.get("constant")):
        return {}
    name, metric, value = constant[:3]
    return {metric: Rule(y=(value, value), note=f"{translate(name, language)} {value:.3g}")}


def plots(
    runs: Sequence[RunCurves],
    second: str,
    language: str,
    step: str = "",
    values: bool = False,
    rules: Mapping[str, Rule] | None = None,
) -> list[Plot]:
    """Loss and another score over steps, side by side; validation is dashed.

    Args:
        runs: whose curves; keys without points make lines without points.
        second: the score.
        language: "en" or "zh".
        step: name of the axis of steps.
        values: with the last value of each line in its label.
        rules: metric → a line across its chart.
    """
    last = max([1, *(steps[-1] for run in runs for steps, _ in run.series.values() if steps)])
    made = []
    for name, place in (("loss", (0.0, 0.5, 0.0, 1.0)), (second, (0.5, 1.0, 0.0, 1.0))):
        lines = [_line(run, split, name, language, values) for run in runs for split in SPLITS
                 if f"{split}/{name}" in run.series]  # fmt: skip
        finite = [value for line in lines for value in line.y if value is not None and math.isfinite(value)]
        across = [rules[name]] if rules and name in rules else []
        finite += [rule.y[0] for rule in across if rule.y is not None]
        free = name in ("loss", "r2")
        marks = ticks(min(finite, default=0.0), max(finite, default=1.0)) if free else QUARTERS
        x, y = Axis(step, ticks=ticks(0, last)), Axis("" if values else word(name, language), ticks=marks)
        made.append(Plot([*lines, *across], word(name, language) if values else "", x, y, place))
    return made


def _line(run: RunCurves, split: str, name: str, language: str, values: bool) -> Line:
    dashed, key = split == "validation", f"{split}/{name}"
    x, y = run.series[key]
    label = f"{run.label} {word(split, language)}".strip() + (f" {y[-1]:#.4g}" if values else "")
    symbol = "square" if dashed else "circle"
    marker = symbol if len(x) <= FEW else ""
    return Line(
        x, y, label, run.colour or 1 + dashed, "dash" if dashed else "", marker=marker, key=run.prefix + key
    )


def of_run(series: Series, language: str = "en", rules: Mapping[str, Rule] | None = None) -> FigureSpec:
    """The curves of a run as a picture, with their last values."""
    made = plots([RunCurves(series)], second(series), language, values=True, rules=rules)
    return FigureSpec(made, spoken(series, language), 800, 230)


def of_runs(
    runs: Mapping[str, Series], language: str = "en", rules: Mapping[str, Rule] | None = None
) -> FigureSpec:
    """The curves of one run (a colour a split) or of several (a colour a run), by label."""
    small = {label: {key: (x, y) for key, (x, y) in packed(series).items()} for label, series in runs.items()}
    if len(small) == 1:
        shown = [RunCurves(series) for series in small.values()]
    else:
        shown = [RunCurves(series, label, number) for number, (label, series) in enumerate(small.items(), 1)]
    name = second(key for series in runs.values() for key in series)
    made = plots(shown, name, language, word("step", language), rules=rules)
    return FigureSpec(made, word("loss", language))


def schedule(optimizers: Mapping[str, Optimizer], steps: int, language: str | None = None) -> FigureSpec:
    """The learning rate over the steps of a run, before it is begun, one line for each optimizer by its
    label."""
    lines = [
        Line(np.arange(1, steps + 1), optimizer.rates(steps), label if len(optimizers) > 1 else "", number)
        for number, (label, optimizer) in enumerate(optimizers.items(), 1)
    ]
    language = language_of(language)
    step, rate = word("step", language), word("learning_rate", language)
    return FigureSpec([Plot(lines, x=Axis(step), y=Axis(rate))], rate)


def rate_search(found: RateSearchResult, language: str | None = None) -> FigureSpec:
    """Loss over the learning rate, the suggested one marked."""
    language, at = language_of(language), found.suggestion
    marks = [Rule((at, at), note=f"{at:g}"), Line(found.rates, found.losses)]
    rate, loss = word("learning_rate", language), word("loss", language)
    return FigureSpec([Plot(marks, x=Axis(rate, log=True), y=Axis(loss))], loss)


def title(key: str, language: str = "en") -> str:
    """The name of a series, such as ``Loss, validation``."""
    split, name = key.split("/")
    return f"{word(name, language)}, {word(split, language)}"


def spoken(series: Series, language: str = "en") -> str:
    """The curves in words, for those who do not see them."""
    said = [
        word("last", language, what=title(key, language), value=f"{y[-1]:.4g}", step=x[-1])
        for key, (x, y) in series.items()
    ]
    return "; ".join(said) or word("nothing", language)
