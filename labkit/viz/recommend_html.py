"""Recommendations and their evaluation as HTML."""

from __future__ import annotations

import pandas as pd

from labkit.core import html
from labkit.core.html import Html
from labkit.core.units import score
from labkit.evaluate.recommend import RecommendReport
from labkit.viz.words import word


def report(found: RecommendReport, language: str) -> Html:
    """The scores with intervals, and what was ranked."""
    cards = []
    for name in found.headlines:
        low, high = found.intervals[name]
        key = "score_coverage_items" if name == "coverage" else f"score_{name}"
        title = f"{word(key, language)} ({score(low, name)} – {score(high, name)})"
        cards.append((title, score(found.scores[name], name)))
    cards.append((word("users", language), f"{len(found.questions.users):,}"))
    cards.append((word("catalogue_size", language), f"{found.questions.items:,}"))
    about = word("recommend_intervals", language, users=f"{len(found.questions.users):,}")
    return html.joined(html.cards(cards), html.paragraph(about, "quiet"))


def table_of(frame: pd.DataFrame, language: str) -> Html:
    """Recommended items with their titles."""
    head = [
        word("rank", language),
        word("title", language),
        word("item", language),
        word("probability", language),
    ]
    lines = [
        [number, title, item, f"{100 * chance:.2f} %"]
        for number, (item, title, chance) in enumerate(frame.itertuples(index=False), start=1)
    ]
    return html.table(head, lines, numeric=(0, 3), limit=80)
