"""Diagrams of the lessons 06 to 10: attention, pretraining, fine-tuning, answers, generation."""

from __future__ import annotations

from collections.abc import Callable

from labkit.course.diagrams.drawing import BLUE, GREEN, INK, ORANGE, QUIET, RED, Diagram
from labkit.i18n import _


def _layer(language: str) -> Diagram:
    draw = Diagram(
        _("One layer of a Transformer: attention and a dense part, each added to its input and normalised"),
        720,
        150,
        language,
    )
    parts = (
        (_("multi-head attention"), 140, BLUE),
        (_("add, normalise"), 110, QUIET),
        (_("dense, GELU, dense"), 140, ORANGE),
        (_("add, normalise"), 110, QUIET),
    )
    x, ends = 70.0, []
    for text, width, colour in parts:
        draw.box(x, 70, width, 44, text, colour)
        draw.arrow([(x - 26, 92), (x - 1, 92)])
        ends.append((x, x + width))
        x += width + 27
    draw.arrow([(x - 27, 92), (x, 92)]).text(32, 97, "x")
    for left, right in ((46.0, ends[1][0] + 55), (ends[1][1] + 13, ends[3][0] + 55)):
        draw.arrow([(left, 92), (left, 40), (right, 40), (right, 69)], GREEN)
    draw.text(190, 32, _("residual connection"), GREEN).text(
        ends[2][0] + 70, 32, _("residual connection"), GREEN
    )
    draw.text(140, 134, _("mixes tokens"), QUIET, 11)
    return draw.text(ends[2][0] + 70, 134, _("each token alone"), QUIET, 11)


def _attention(language: str) -> Diagram:
    draw = Diagram(
        _("The token smiled takes a weighted mean of the values of all tokens"), 640, 230, language
    )
    middles = draw.tokens(
        30, 190, ["the", "boy", "took", "his", "hat", "and", "smiled"], [QUIET] * 6 + [BLUE], gap=22
    )
    weights = (0.05, 0.55, 0.05, 0.15, 0.1, 0.02, 0.08)
    for x, weight in zip(middles, weights, strict=True):
        draw.box(x - 22, 118, 44, 30, f"{weight:.2f}", ORANGE)
        draw.line([(x, 188), (x, 150)])
        draw.line([(x, 116), (320, 72)], ORANGE, 0.8 + 7 * weight)
    draw.box(230, 40, 180, 32, _("sum of weight × value"), GREEN)
    draw.text(624, 60, "softmax(q·k / √d)", ORANGE, anchor="end", size=12)
    return draw.text(320, 26, _("new vector of smiled"), GREEN, bold=True)


def _masked(language: str) -> Diagram:
    draw = Diagram(
        _("Masked language modelling: a hidden token is predicted from both sides"), 600, 190, language
    )
    middles = draw.tokens(
        70, 130, ["she", "was", "[MASK]", "to", "see", "him"], [QUIET, QUIET, RED, QUIET, QUIET, QUIET]
    )
    draw.box(70, 70, middles[-1] - 50, 36, _("BERT: every token sees all others"), BLUE)
    for x in middles:
        draw.arrow([(x, 128), (x, 108)])
    draw.arrow([(middles[2], 70), (middles[2], 48)], GREEN)
    draw.text(middles[2], 38, "glad 0.31 · happy 0.22 · sorry 0.09", GREEN)
    return draw.text(middles[2], 176, _("the loss counts this place alone"), RED, 12)


def _next_sentence(language: str) -> Diagram:
    draw = Diagram(
        _("Next-sentence prediction: does the second passage follow the first?"), 640, 150, language
    )
    for y, second, follows, colour in (
        (24, _("the passage after it"), _("follows"), GREEN),
        (88, _("a passage from elsewhere"), _("does not follow"), RED),
    ):
        middles = draw.tokens(16, y, ["[CLS]", _("a passage"), "[SEP]", second, "[SEP]"])
        draw.arrow([(middles[0], y), (middles[0], y - 10), (560, y - 10), (560, y + 2)], colour)
        draw.text(560, y + 17, follows, colour, bold=True)
    return draw


def _finetuning(language: str) -> Diagram:
    draw = Diagram(
        _("What is trained: everything, low-rank adapters and the head, or the head alone"),
        640,
        240,
        language,
    )
    for left, name, layers, adapters in (
        (30, _("full fine-tuning"), BLUE, False),
        (240, "LoRA", QUIET, True),
        (450, _("head alone"), QUIET, False),
    ):
        draw.text(left + 80, 22, name, bold=True)
        draw.box(left, 36, 160, 30, _("head"), BLUE)
        for number in range(3):
            draw.box(left, 78 + 36 * number, 160, 28, _("layer"), layers, dashed=layers == QUIET)
            if adapters:
                draw.box(left + 118, 82 + 36 * number, 36, 20, "A B", BLUE)
        draw.box(left, 186, 160, 28, _("embeddings"), layers, dashed=layers == QUIET)
    return draw.text(30, 234, _("blue: trained; dashed: frozen"), QUIET, 12, "start")


def _span(language: str) -> Diagram:
    draw = Diagram(
        _("A start score and an end score for every token; the best pair is the answer"), 640, 210, language
    )
    words = ["Professor", "Anna", "Berg", "opened", "the", "meeting"]
    colours = [QUIET, GREEN, GREEN, QUIET, QUIET, QUIET]
    middles = draw.tokens(110, 170, words, colours)
    for y, name, scores, colour in (
        (90, _("start"), (0.3, 0.9, 0.3, 0.1, 0.1, 0.2), BLUE),
        (155, _("end"), (0.1, 0.2, 0.95, 0.1, 0.05, 0.3), ORANGE),
    ):
        draw.text(96, y - 6, name, colour, anchor="end", bold=True)
        for x, score in zip(middles, scores, strict=True):
            draw.box(x - 14, y - 46 * score, 28, 46 * score, "", colour)
    return draw.text(340, 26, _("“Who opened the meeting?” → Anna Berg"), GREEN, bold=True)


def _causal(language: str) -> Diagram:
    draw = Diagram(
        _("A causal mask: each token sees itself and those before it, and predicts the next"),
        620,
        210,
        language,
    )
    words = ["She", "was", "very", "glad"]
    cells = [["✓" if column <= row else "" for column in range(4)] for row in range(4)]
    fills = [[BLUE if column <= row else INK for column in range(4)] for row in range(4)]
    draw.grid(120, 50, cells, 32, fills)
    for number, text in enumerate(words):
        draw.text(112, 71 + 32 * number, text, anchor="end").text(136 + 32 * number, 42, text, size=11)
        draw.arrow([(254, 66 + 32 * number), (330, 66 + 32 * number)])
        draw.text(340, 71 + 32 * number, [*words, "to"][number + 1], GREEN, anchor="start", bold=True)
    draw.text(60, 202, _("attends"), QUIET, 12).text(184, 20, _("is attended to"), QUIET, 12)
    return draw.text(400, 202, _("four predictions from one text"), GREEN, 12)


def _generation(language: str) -> Diagram:
    draw = Diagram(
        _("Generating: predict, pick a token, append it, and repeat; earlier keys and values are cached"),
        640,
        170,
        language,
    )
    draw.box(20, 60, 130, 44, _("text so far"), QUIET)
    draw.box(200, 60, 120, 44, "GPT", BLUE, below=_("newest token alone"))
    draw.box(370, 60, 110, 44, _("probabilities"), ORANGE)
    draw.box(530, 60, 90, 44, _("pick one"), GREEN)
    for left, right in ((150, 199), (320, 369), (480, 529)):
        draw.arrow([(left, 82), (right, 82)])
    draw.arrow([(575, 104), (575, 148), (85, 148), (85, 105)], GREEN).text(330, 142, _("append"), GREEN, 12)
    draw.box(210, 8, 100, 30, _("cache"), RED).arrow([(260, 39), (260, 59)], RED)
    return draw.text(425, 122, _("temperature, top-k, top-p"), QUIET, 11)


DIAGRAMS: dict[str, Callable[[str], Diagram]] = {
    "layer": _layer,
    "attention": _attention,
    "masked": _masked,
    "next-sentence": _next_sentence,
    "fine-tuning": _finetuning,
    "span": _span,
    "causal": _causal,
    "generation": _generation,
}
