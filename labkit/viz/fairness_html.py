"""Fairness reports as HTML: gaps between groups, rates by group, and what thresholds by group cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labkit.core import html
from labkit.core.html import Html
from labkit.evaluate.fairness import GAPS, GOALS, RATES, FairnessReport, GroupThresholds
from labkit.i18n import translate
from labkit.viz.words import word

#: Groups that are listed.
LINES = 50
#: The gaps that are shown first: those that laws and papers speak of.
MAIN = (
    "demographic_parity_difference", "demographic_parity_ratio", "equalized_odds_difference",
    "equal_opportunity_difference", "false_positive_rate_difference", "predictive_parity_difference",
    "accuracy_difference",
)  # fmt: skip


def fairness(found: FairnessReport, language: str) -> Html:
    """Gaps with intervals, the worst group, warnings, and the rates of every group."""
    gaps = [
        [word(f"gap_{name}", language), f"{found.gaps[name][0]:.3f}", _range(*found.gaps[name][1:])]
        for name in MAIN
    ]
    head = [word(key, language) for key in ("gap", "score", "interval")]
    notes = [html.note(translate(each, language), "warn") for each in found.warnings]
    parts = [
        html.paragraph(word("fairness_of", language, positive=found.positive, rows=f"{found.counted:,}")),
        *notes,
        html.table(head, gaps, numeric=(1, 2)),
        html.paragraph(word("worst_group", language, group=found.worst)),
    ]
    rates = ("accuracy", *RATES)
    keys = ("base_rate", "mean_probability", "calibration_error")
    head = [
        found.table.index.name or word("group", language),
        *(word(key, language) for key in ("rows", *(f"rate_{name}" for name in rates), *keys)),
    ]
    lines = [
        [str(name), f"{line['rows']:,.0f}", *(_rate(line, rate) for rate in rates),
         *(f"{line[key]:.3f}" for key in keys)]
        for name, line in list(found.table.to_dict(orient="index").items())[:LINES]
    ]  # fmt: skip
    table = html.table(head, lines, numeric=range(1, len(head)), limit=60)
    return html.joined(*parts, html.scrolled(table, word("by_groups", language)))


def thresholds(found: GroupThresholds, language: str) -> Html:
    """Thresholds by group, the gap before and after, and the accuracy that they cost."""
    rate = GOALS[found.goal]
    gap = next(name for name, of in GAPS.items() if of == rate)
    before, after = found.before.gaps[gap][0], found.after.gaps[gap][0]
    told = word(
        "price_of_equality", language, gap=word(f"gap_{gap}", language), before=f"{before:.3f}", after=f"{after:.3f}",
        price=f"{found.price:+.3f}", interval=_range(*found.interval),
    )  # fmt: skip
    lines = [
        [str(name), f"{line['threshold']:.3f}", *(f"{line[f'{of}_{when}']:.3f}" for of in (rate, "accuracy")
         for when in ("before", "after"))]
        for name, line in found.table()[:LINES].to_dict(orient="index").items()
    ]  # fmt: skip
    names = [word(f"rate_{of}", language) for of in (rate, "accuracy")]
    changes = [
        word(key, language, rate=name) for name in names for key in ("before_thresholds", "after_thresholds")
    ]
    head = [found.before.table.index.name, word("threshold", language), *changes]
    table = html.table(head, lines, numeric=range(1, len(head)), limit=60)
    return html.joined(html.note(told, "info"), html.scrolled(table, word("thresholds_by_group", language)))


def _range(low: float, high: float) -> str:
    return f"{low:.3f} – {high:.3f}"


def _rate(line: Mapping[Any, Any], rate: str) -> str:
    low, high = line[f"{rate}_low"], line[f"{rate}_high"]
    return "–" if line[rate] != line[rate] else f"{line[rate]:.3f} ({_range(low, high)})"
