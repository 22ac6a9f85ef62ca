"""Search results and answers as HTML: passages with their source, the words of the query highlighted."""

from __future__ import annotations

import re

from labkit.core import html
from labkit.core.html import Html
from labkit.i18n import translate
from labkit.retrieval.answers import NOT_FOUND, TextAnswer
from labkit.retrieval.bm25 import terms
from labkit.retrieval.hits import Hit, Hits
from labkit.viz.words import word

#: Characters of a passage that are shown.
SHOWN = 1200


def hits(found: Hits, language: str) -> Html:
    """The passages of a search, the best first."""
    if not found:
        return html.paragraph(word("nothing_found", language), "quiet")
    return html.joined(*(_hit(hit, found.query, language) for hit in found))


def answer(found: TextAnswer, language: str) -> Html:
    """An answer with the passages that were read; the cited one first and open."""
    if not found.text:
        told = html.note(translate(NOT_FOUND, language), "warn")
    else:
        cited = f" [{found.cited}]" if found.cited else ""
        told = Html(f'<div class="lk-marked">{html.safe(found.text)}{cited}</div>')
    least = "–" if found.threshold is None else f"{found.threshold:.3f}"
    about = word(
        "answer_evidence", language, evidence=f"{found.evidence:.3f}", threshold=least,
        support=f"{100 * found.support:.0f} %",
    )  # fmt: skip
    parts = [told, html.paragraph(about, "quiet")]
    if found.threshold is None:
        parts.append(html.paragraph(word("not_calibrated", language), "quiet"))
    return html.joined(
        *parts, *(_hit(hit, found.question, language, found.cited == hit.rank) for hit in found.hits)
    )


def _hit(hit: Hit, query: str, language: str, cited: bool = False) -> Html:
    passage = hit.passage
    place = [
        passage.source,
        word("pdf_page", language, page=passage.page) if passage.page else "",
        passage.heading,
    ]
    head = f"{hit.rank}. {' · '.join(filter(None, place))}"
    marked = word("cited", language) if cited else ""
    about = " · ".join(filter(None, (f"{hit.score:.3f}", marked)))
    text = f'<div class="lk-marked" style="white-space:pre-wrap">{highlighted(passage.text, query)}</div>'
    return html.joined(html.heading(head, 4), html.paragraph(about, "quiet"), Html(text))


def highlighted(text: str, query: str) -> Html:
    """A text with the words of a query, and Chinese pairs of characters, in ``<mark>``."""
    text, wanted = text[:SHOWN], set(terms(query))
    inside = [False] * len(text)
    for found in re.finditer(
        r"(?=([\u3400-\u9fff\uf900-\ufaff]{2}))|([^\W\u3400-\u9fff\uf900-\ufaff]+)", text
    ):
        group = 1 if found[1] else 2
        if set(terms(found[group])) & wanted and (group == 2 or found[1] in wanted):
            inside[found.start(group) : found.end(group)] = [True] * len(found[group])
    parts, at = [], 0
    while at < len(text):
        end = at
        while end < len(text) and inside[end] == inside[at]:
            end += 1
        piece = html.safe(text[at:end])
        parts.append(f"<mark>{piece}</mark>" if inside[at] else piece)
        at = end
    return Html("".join(parts))
