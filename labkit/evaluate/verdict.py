"""A model against its best baseline, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from labkit.core.units import score
from labkit.i18n import _
from labkit.i18n.labels import score_name


def against(table: pd.DataFrame, baselines: Sequence[str], metric: str, better: int = 1) -> tuple[str, str]:
    """The outcome ("better", "worse", "equal", or "alone" without a baseline), and the sentence.

    Args:
        table: what ``report.compare`` returns, the model first.
        baselines: their names, which the index of the table has without their translations.
        metric: the score that is compared.
        better: -1 where a smaller score is better.
    """
    value, *others = map(float, table[metric])
    if not others:
        return "alone", _("{metric} {value}.", metric=score_name(metric), value=score(value, metric))
    place = max(range(len(others)), key=lambda number: better * others[number])
    line = table.iloc[place + 1]
    gain = "f1_gain" if "f1_gain" in line else "gain"
    facts = {"metric": score_name(metric), "value": score(value, metric), "name": baselines[place],
             "other": score(others[place], metric)}  # fmt: skip
    if line[f"{gain}_low"] > 0:
        return "better", _(
            "Better than the best baseline: {metric} {value}, against {other} of {name}.", **facts
        )
    if line[f"{gain}_high"] < 0:
        return "worse", _("Worse than a baseline: {metric} {value}, against {other} of {name}.", **facts)
    return "equal", _(
        "No significant difference to a baseline: {metric} {value}, against {other} of {name}.",
        **facts,
    )


def first_line(table: pd.DataFrame, baselines: Sequence[str], metric: str, better: int = 1) -> str:
    """The sentence where a baseline has the better score, as the first line of a report; else empty."""
    outcome, sentence = against(table, baselines, metric, better)
    values: Sequence[float] = [better * float(value) for value in table[metric]]
    return sentence if len(values) > 1 and outcome != "better" and max(values[1:]) > values[0] else ""
