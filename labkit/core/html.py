"""Small pieces of HTML that panels and notebooks show. Everything given is plain text and is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from labkit.core.text import escape, visible

Tone = Literal["plain", "good", "warn", "bad", "info", "quiet"]


#: JupyterLab would typeset what is between dollar signs.
LITERAL = "mathjax_ignore tex2jax_ignore"
_LEFT = ' style="text-align:left"'  # notebooks align tables right


class Html(str):
    """Text that is HTML already, every part of it from outside escaped."""


def safe(value: object, limit: int | None = None) -> str:
    """A value as HTML: escaped, hidden characters written out, cut at ``limit``; :class:`Html` passes as it
    is."""
    return value if isinstance(value, Html) else escape(visible(str(value), limit))


def table(
    head: Sequence[Any],
    rows: Iterable[Sequence[Any]],
    caption: str = "",
    numeric: Sequence[int] = (),
    limit: int = 300,
) -> Html:
    """A table; columns whose numbers are in ``numeric`` are aligned right, the others left."""

    def cells(kind: str, values: Sequence[Any]) -> str:
        right = [' class="lk-number"' if place in numeric else _LEFT for place in range(len(values))]
        scope = ' scope="col"' if kind == "th" else ""
        return "".join(
            f"<{kind}{scope}{mark}>{safe(v, limit)}</{kind}>" for v, mark in zip(values, right, strict=True)
        )

    title = f"<caption>{safe(caption)}</caption>" if caption else ""
    first = f"<thead><tr>{cells('th', head)}</tr></thead>" if head else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return Html(f'<table class="lk-table">{title}{first}<tbody>{body}</tbody></table>')


def listed(texts: Iterable[Any]) -> Html:
    """Texts as points of a list."""
    return Html(f"<ul>{''.join(f'<li>{safe(text)}</li>' for text in texts)}</ul>")


def cards(facts: Iterable[tuple[Any, Any]]) -> Html:
    """Facts side by side: (what, how much), the amount in large type."""
    each = "".join(
        f'<div class="lk-card"><b>{safe(value, 80)}</b><span>{safe(name, 80)}</span></div>'
        for name, value in facts
    )
    return Html(f'<div class="lk-cards">{each}</div>')


def chip(text: object, tone: Tone = "plain") -> Html:
    """A word in a round frame."""
    return Html(f'<span class="lk-chip lk-{tone}">{safe(text, 120)}</span>')


def note(text: object, tone: Tone = "info") -> Html:
    """A highlighted sentence."""
    return Html(f'<div class="lk-note lk-{tone}">{safe(text, 2000)}</div>')


def heading(text: object, level: Literal[3, 4] = 3) -> Html:
    """A title within a panel."""
    return Html(f"<h{level}>{safe(text, 200)}</h{level}>")


def paragraph(text: object, tone: Tone = "plain") -> Html:
    """A paragraph."""
    return Html(f'<p class="lk-{tone}">{safe(text, 4000)}</p>')


def scrolled(content: Html, label: str) -> Html:
    """Content in a frame of limited height that the keyboard can scroll."""
    return Html(
        f'<div class="lk-scroll" role="region" tabindex="0" aria-label="{safe(label)}">{content}</div>'
    )


def joined(*parts: Html | str) -> Html:
    """Pieces one after the other; plain text is escaped."""
    return Html("".join(safe(part) for part in parts))


def side_by_side(*parts: Html) -> Html:
    """Components side by side if there is room."""
    return Html(f'<div class="lk-beside">{"".join(f"<div>{part}</div>" for part in parts)}</div>')


def short(name: str, values: Sequence[Any], most: int = 48) -> str:
    """A name with its first value, as plain text for a list of choices."""
    first = next((" ".join(str(value).split()) for value in values if value not in (None, "")), "")
    text = visible(f"{name}: {first}" if first else name)
    return text if len(text) <= most else text[: most - 1] + "…"


def marked(text: str, other: str) -> Html:
    """A text with what differs from ``other`` marked: all between their common beginning and end."""
    start = next(
        (i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other))
    )
    least = min(len(text), len(other)) - start
    end = next((i for i in range(least) if text[-1 - i] != other[-1 - i]), least)
    middle = text[start : len(text) - end]
    return Html(
        f"{safe(text[:start])}<mark>{safe(middle)}</mark>{safe(text[len(text) - end :])}"
        if middle
        else safe(text)
    )


def details(title: object, *parts: Html) -> Html:
    """Pieces that are folded under a title."""
    return Html(f"<details><summary>{safe(title)}</summary>{joined(*parts)}</details>")


def block(text: object) -> Html:
    """Text as it is, to copy, in a block that the keyboard reaches."""
    return Html(f'<pre tabindex="0">{escape(text)}</pre>')


def page(heading: object, *parts: Html | str) -> Html:
    """What a notebook shows of an object, outside the panels: a heading, paragraphs of text, and other
    pieces."""
    each = (part if isinstance(part, Html) else paragraph(part) for part in parts)
    return Html(f'<div class="{LITERAL}"><b>{safe(heading)}</b>{joined(*each)}</div>')
