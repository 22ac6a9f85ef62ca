"""Speech as HTML: transcripts over their frames, aligned errors, and reports of error rates beside baselines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from labkit.core import html
from labkit.core.html import Html
from labkit.evaluate.edit_distance import DELETION, INSERTION, SAME, SUBSTITUTION, Edit
from labkit.evaluate.speech import BEAM, FREQUENT, METRICS, NEAREST, SpeechReport
from labkit.inference.speech_recognition import Transcript
from labkit.viz.media import png_address
from labkit.viz.words import word

#: Sounds that are shown of those with the highest error rate, and errors of the table of the most frequent ones.
WORST, FREQUENT_ERRORS = 12, 12
_SYSTEMS = {
    "model": "this_model",
    FREQUENT: "frequent_transcript",
    NEAREST: "nearest_recording",
    BEAM: "beam_search",
}


def transcript(found: Transcript, frames: np.ndarray, language: str) -> Html:
    """The transcript in large type, above the log-mel frames f32[t, bands] with each character of greedy decoding at
    its time."""
    text = found.text or word("nothing_recognised", language)
    scaled = (frames - frames.min()) / max(float(np.ptp(frames)), 1e-6)
    picture = png_address(np.flipud((255 * (1 - scaled.T)).astype(np.uint8)))
    placed = "".join(
        f'<span style="left:{100 * at / max(found.seconds, 0.04):.1f}%" title="{at:.2f} s, {100 * chance:.0f} %">'
        f"{html.safe('␣' if character == ' ' else character)}</span>"
        for character, at, chance in found.characters
    )
    label = html.safe(word("frames_of_sound", language, seconds=f"{found.seconds:.2f}"))
    image = f'<img src="{picture}" alt="{label}" title="{label}"/>'
    return html.joined(
        html.block(text), Html(f'<div class="lk-speech">{image}<div class="lk-letters">{placed}</div></div>')
    )


def alignment(edits: Sequence[Edit], language: str) -> Html:
    """What was said with its errors marked: substitutions, deletions (struck through) and insertions (underlined)."""
    return html.joined(
        Html(f'<div class="lk-edits">{aligned_text(edits)}</div>'),
        html.paragraph(word("edits_legend", language), "quiet"),
    )


def aligned_text(edits: Sequence[Edit]) -> Html:
    """Edits one after the other, each error marked by its kind."""
    shown = []
    for kind, truth, answer in edits:
        one, other = (html.safe("␣" if text == " " and kind != SAME else text) for text in (truth, answer))
        shown.append(
            {
                SAME: one,
                SUBSTITUTION: f'<mark title="{one} → {other}">{one}→{other}</mark>',
                DELETION: f"<del>{one}</del>",
                INSERTION: f"<ins>{other}</ins>",
            }[kind]
        )
    return Html("".join(shown))


def report(found: SpeechReport, language: str) -> Html:
    """Error rates by group and system, what they say, the kinds of errors, and the worst sounds with aligned errors."""
    parts = [_verdict(found, system, language) for system in (NEAREST, FREQUENT) if system in found.systems]
    title = word("error_rates", language)
    parts += [html.heading(title, 4), html.scrolled(_table(found, language), title)]
    if found.sampled:
        said = word("sounds_sampled", language, count=f"{len(found.rows):,}", rows=f"{found.sampled:,}")
        parts.append(html.paragraph(said, "quiet"))
    kinds = found.edits()
    said = word("edits_counted", language, **{name: f"{count:,}" for name, count in kinds.items()})
    parts += [html.heading(word("kinds_of_errors", language), 4), html.paragraph(said)]
    confusions = found.confusions(most=FREQUENT_ERRORS)
    if len(confusions):
        head = [word(key, language) for key in ("kind_of_error", "truth", "answer", "count")]
        lines = [
            [word(f"edit_{one.kind}", language), _visible(one.truth), _visible(one.answer), f"{one.count:,}"]
            for one in confusions.itertuples()
        ]
        parts.append(html.scrolled(html.table(head, lines, numeric=(3,)), word("kinds_of_errors", language)))
    title = word("worst_mistakes", language)
    head = [word(key, language) for key in ("row", "truth", "answer", "aligned", "cer")]
    lines = [
        [one.row, one.truth, one.output or word("nothing_recognised", language),
         aligned_text(found.alignment(one.place)), f"{one.cer:.2f}"]
        for one in found.to_pandas().head(WORST).itertuples()
        if one.cer > 0
    ]  # fmt: skip
    if lines:
        table = html.table(head, lines, numeric=(0, 4), limit=160)
        parts += [html.heading(title, 4), html.scrolled(table, title)]
        parts.append(html.paragraph(word("edits_legend", language), "quiet"))
    return html.joined(*parts)


def _visible(text: object) -> str:
    return "␣" if text == " " else str(text) or "–"


def _verdict(found: SpeechReport, system: str, language: str) -> Html:
    """The gain in the character error rate over a baseline, as a sentence."""
    gain, low, high = found.gain(system)
    outcome = "better" if low > 0 else "worse" if high < 0 else "equal"
    tone: html.Tone = {"better": "good", "worse": "bad"}.get(outcome, "warn")  # type: ignore[assignment]
    places = {
        "system": word(_SYSTEMS[system], language), "gain": f"{gain:+.2f}", "low": f"{low:+.2f}",
        "high": f"{high:+.2f}",
    }  # fmt: skip
    return html.note(word(f"speech_{outcome}", language, **places), tone)


def _table(found: SpeechReport, language: str) -> Html:
    head = [word(key, language) for key in ("group", "system", "sounds_evaluated")]
    for metric in METRICS:
        head += [word(metric, language), word("gain_of_model", language)]
    lines = []
    for line in found.table().to_dict("records"):
        group = word("part_all", language) if line["group"] == "all" else line["group"]
        system = _SYSTEMS.get(line["system"])
        cells = [group, word(system, language) if system else line["system"], f"{line['sounds']:,}"]
        for metric in METRICS:
            cells.append(_ranged(*(line[f"{metric}{end}"] for end in ("", "_low", "_high"))))
            gain = [line.get(f"{metric}_gain{end}", float("nan")) for end in ("", "_low", "_high")]
            cells.append("" if line["system"] == "model" else _ranged(*gain, "+.2f"))
        lines.append(cells)
    return html.table(head, lines, numeric=range(2, len(head)))


def _ranged(value: float, low: float, high: float, style: str = ".2f") -> str:
    return f"{value:{style}} ({low:{style}} – {high:{style}})"
