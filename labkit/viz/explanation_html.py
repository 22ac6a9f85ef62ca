"""Explanations as HTML: highlighted words, image heatmaps, feature bars, attention maps."""

from __future__ import annotations

import numpy as np

from labkit.core import html
from labkit.core.html import Html
from labkit.core.text import escape, visible
from labkit.core.units import plain, unit_in
from labkit.data.cell_values import Cell
from labkit.explain.explanation import AGAINST, FOR, AttentionWeights, Explanation
from labkit.viz import charts, media
from labkit.viz.svg import inline
from labkit.viz.words import word

#: Classes whose probability is shown, the likeliest.
CLASSES = 10
#: Features that are listed, by how much they count; tokens in a map.
FEATURES, TOKENS = 20, 48


def probabilities(chances: dict[str, float], language: str, what: str = "class") -> Html:
    """The classes (or what else ``what`` is the word of), likeliest first, with a bar each."""
    lines = []
    for name, chance in sorted(chances.items(), key=lambda item: -item[1])[:CLASSES]:
        lines.append([name, _bar(chance), f"{100 * chance:.1f} %"])
    return html.table(
        [word(what, language), "", word("probability", language)], lines, numeric=(2,), limit=60
    )


def explanation(found: Explanation, language: str) -> Html:
    """What speaks for the class and what against it, with how exactly that adds up."""
    parts = [
        html.paragraph(
            word(
                "raises_number" if found.number else "speaks_for", language, target=visible(found.target, 60)
            ),
            "quiet",
        ),
        _key(language, ("raises", "lowers") if found.number else ("for_it", "against_it")),
    ]
    if found.words:
        parts.append(Html(f'<div class="lk-marked">{found.marked()}</div>'))
    elif found.values.ndim > 1:
        parts.append(media.picture(veiled(found), found.target, 168))
        if found.method == "gradcam":
            parts.append(html.paragraph(word("gradcam_about", language), "quiet"))
    else:
        parts.append(_features(found, language))
    if not np.isnan(found.gap):
        parts.append(html.paragraph(_adds_up(found, language), "quiet"))
    return html.joined(*parts)


def _adds_up(found: Explanation, language: str) -> str:
    """How the attributions add up to the answer."""
    total = found.whole - found.empty
    share = f"{100 * abs(found.gap) / abs(total) if total else 0:.1f} %"
    if not found.number:
        key = "adds_up_row" if found.cells else "adds_up"
        return word(key, language, total=f"{total:+.2f}", gap=share)
    unit = unit_in(found.target)
    start, change, end = (
        f"{text} {unit}".strip() for text in (plain(found.empty), _signed(total), plain(found.whole))
    )
    key = "adds_up_number_row" if found.cells else "adds_up_number"
    return word(key, language, start=start, total=change, end=end, gap=share)


def _signed(value: float) -> str:
    """A number with its sign."""
    text = plain(value, 4)
    return f"+{text}" if value > 0 else text


def veiled(found: Explanation) -> np.ndarray:
    """A picture in grey with colours where it speaks for (blue) or against (vermilion) the class, uint8 [y,
    x, 3]."""
    assert found.inputs is not None
    grey = found.inputs.mean(-1) if found.inputs.ndim == 3 else found.inputs
    low, high = float(grey.min()), float(grey.max())
    grey = 255 * (grey - low) / max(high - low, 1e-9)
    share = found.map / (float(np.abs(found.map).max()) or 1.0)
    colour = np.where(share[..., None] > 0, _rgb(FOR), _rgb(AGAINST))
    veil = 0.75 * np.abs(share)[..., None]
    return np.clip((1 - veil) * (60 + 0.6 * grey[..., None]) + veil * colour, 0, 255).astype(np.uint8)


def attention(found: AttentionWeights, layer: int, head: int | None, language: str) -> Html:
    """The weights of one head (None: the mean of all) as a map: rows look at columns."""
    rows, columns = (
        [visible(token, 12) for token in names[:TOKENS]] for names in (found.tokens, found.columns)
    )
    weights = found.weights[layer].mean(0) if head is None else found.weights[layer, head]
    key = "cross_attention_said" if found.source else "attention_said"
    said = word(key, language, layer=layer + 1, tokens=len(columns))
    return inline(charts.attention(weights[: len(rows), : len(columns)], rows, columns, said))


def _features(found: Explanation, language: str) -> Html:
    """The columns of a row (or features without names), those with the largest effects first."""
    if found.cells:
        names = [cell.column for cell in found.cells]
        given, effects = [_shown(cell, language) for cell in found.cells], found.effects
    else:
        names, effects = list(map(str, range(len(found.values)))), found.values
        given = [""] * len(names) if found.inputs is None else [f"{value:.3g}" for value in found.inputs]
    order = np.argsort(-np.abs(effects), kind="stable")[:FEATURES]
    most = float(np.abs(effects).max(initial=0.0)) or 1.0
    lines = []
    for place in order:
        value = float(effects[place])
        bar = _bar(abs(value) / most, 1 if value > 0 else 2)
        lines.append([names[place], given[place], bar, _signed(value) if found.number else f"{value:+.3f}"])
    effect = word("effect", language)
    if found.number and (unit := unit_in(found.target)):
        effect = f"{effect} ({unit})"
    head = [word("column" if found.cells else "feature", language), word("value", language), "", effect]
    return html.table(head, lines, numeric=(1, 3), limit=60)


def _shown(cell: Cell, language: str) -> str:
    """The value of a cell, in the panel's words where it is missing or a boolean."""
    if cell.kind == "boolean" and cell.value:
        return word("yes" if cell.value == "true" else "no", language)
    return cell.value or word("missing_value", language)


def _bar(share: float, fill: int = 1) -> Html:
    style = f"width:{100 * share:.1f}%;height:10px;border-radius:3px;background:var(--lk-fill-{fill})"
    return Html(f'<div style="width:160px;padding-top:4px"><div style="{style}"></div></div>')


def _key(language: str, keys: tuple[str, str]) -> Html:
    marks = (("solid", FOR, keys[0]), ("dashed", AGAINST, keys[1]))
    each = (
        f'<span style="border-bottom:3px {line} rgb({colour});margin-right:14px">{escape(word(key, language))}</span>'
        for line, colour, key in marks
    )
    return Html(f'<div class="lk-quiet">{"".join(each)}</div>')


def _rgb(colour: str) -> np.ndarray:
    return np.asarray([int(part) for part in colour.split(",")], np.float64)
