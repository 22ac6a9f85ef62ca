"""Translation reports as HTML: BLEU and chrF++ with intervals against other systems, and the worst translations."""

from __future__ import annotations

from labkit.core import html
from labkit.core.html import Html
from labkit.evaluate.translation import MEMORY, METRICS, TranslationReport
from labkit.viz.words import word

#: Rows that are shown of those that were translated worst.
WORST = 12


def translations(found: TranslationReport, language: str) -> Html:
    """Scores by system and part of the rows, what they say, and the worst rows."""
    parts = [_verdict(found, name, language) for name in found.parts] if MEMORY in found.systems else []
    title = word("translation_scores", language)
    parts += [html.heading(title, 4), html.scrolled(_table(found, language), title)]
    if found.leaked:
        said = word("sources_in_train", language, count=f"{found.leaked:,}", rows=f"{len(found.rows):,}")
        parts.append(html.paragraph(said, "quiet"))
    if found.sampled:
        said = word("translations_sampled", language, count=f"{len(found.rows):,}", rows=f"{found.sampled:,}")
        parts.append(html.paragraph(said, "quiet"))
    title = word("worst_mistakes", language)
    head = [word(key, language) for key in ("source_text", "truth", "answer", "chrf")]
    worst = found.to_pandas().head(WORST).itertuples()
    lines = [[one.source, one.truth, one.output, f"{one.chrf:.1f}"] for one in worst]
    parts += [html.heading(title, 4), html.scrolled(html.table(head, lines, numeric=(3,), limit=160), title)]
    return html.joined(*parts)


def _verdict(found: TranslationReport, part: str, language: str) -> Html:
    """The gain in chrF++ over the translation memory, as a sentence."""
    gain, low, high = found.gain(part=part)
    outcome = "better" if low > 0 else "worse" if high < 0 else "equal"
    tone: html.Tone = {"better": "good", "worse": "bad"}.get(outcome, "warn")  # type: ignore[assignment]
    places = {
        "part": word(f"part_{part}", language), "gain": f"{gain:+.1f}", "low": f"{low:+.1f}", "high": f"{high:+.1f}",
    }  # fmt: skip
    return html.note(word(f"memory_{outcome}", language, **places), tone)


def _table(found: TranslationReport, language: str) -> Html:
    head = [word(key, language) for key in ("rows", "system", "rows_evaluated")]
    for metric in METRICS:
        head += [word(metric, language), word("gain_of_model", language)]
    lines = []
    for line in found.table().to_dict("records"):
        system = {"model": "this_model", MEMORY: "translation_memory"}.get(line["system"])
        cells = [word(f"part_{line['part']}", language), word(system, language) if system else line["system"]]
        cells.append(f"{line['rows']:,}")
        for metric in METRICS:
            cells.append(_ranged(*(line[f"{metric}{end}"] for end in ("", "_low", "_high"))))
            gain = [line.get(f"{metric}_gain{end}", float("nan")) for end in ("", "_low", "_high")]
            cells.append("" if line["system"] == "model" else _ranged(*gain, "+.1f"))
        lines.append(cells)
    return html.table(head, lines, numeric=range(2, len(head)))


def _ranged(value: float, low: float, high: float, style: str = ".1f") -> str:
    return f"{value:{style}} ({low:{style}} – {high:{style}})"
