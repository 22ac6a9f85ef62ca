"""Diagrams of the lessons 00 to 05, 11 and 12."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from labkit.course.diagrams.drawing import BLUE, GREEN, INK, ORANGE, QUIET, RED, Diagram
from labkit.i18n import _


def _steps(language: str) -> Diagram:
    draw = Diagram(_("From raw rows to arrays: load, clean, split, tokenise, batch"), 720, 110, language)
    parts = (
        (_("raw rows"), _("texts, tables, …")),
        (_("clean"), _("named steps")),
        (_("no duplicates"), _("before splitting")),
        (_("split"), _("train, validation, test")),
        (_("tokens"), _("numbers per piece")),
        (_("batches"), _("arrays of fixed shape")),
    )
    for number, (name, more) in enumerate(parts):
        x = 10 + number * 118
        draw.box(x, 30, 104, 52, name, BLUE if number in (0, 5) else QUIET)
        draw.text(x + 52, 98, more, QUIET, 10)
        if number:
            draw.arrow([(x - 14, 56), (x - 1, 56)])
    return draw


def _padding(language: str) -> Diagram:
    draw = Diagram(_("Six texts in one bucket and in two: less padding in two"), 720, 150, language)
    lengths = (2, 3, 4, 3, 9, 8)
    for left, title, widths in (
        (20, _("one bucket of 9: {share} padding").fill(share="46 %"), (9,) * 6),
        (380, _("buckets of 4 and 9: {share} padding").fill(share="15 %"), (4, 4, 4, 4, 9, 9)),
    ):
        draw.text(left, 20, title, anchor="start", bold=True)
        for row, (length, width) in enumerate(zip(lengths, widths, strict=True)):
            fills = [[BLUE if column < length else QUIET for column in range(width)]]
            draw.grid(left, 30 + row * 19, [[""] * width], 18, fills)
    draw.text(200, 60, _("real tokens"), BLUE, anchor="start").text(
        200, 80, _("padding"), QUIET, anchor="start"
    )
    return draw


def _network(language: str) -> Diagram:
    draw = Diagram(
        _("A network with four inputs, a hidden layer of three neurons and one output"), 560, 220, language
    )
    inputs = [(90, 45 + 43 * i) for i in range(4)]
    hidden = [(270, 65 + 45 * i) for i in range(3)]
    out = (450, 110)
    for x1, y1 in inputs:
        for x2, y2 in hidden:
            draw.line([(x1 + 16, y1), (x2 - 16, y2)])
    for x, y in hidden:
        draw.line([(x + 16, y), (out[0] - 16, out[1])])
    for number, (x, y) in enumerate(inputs, 1):
        draw.circle(x, y, 16, f"x{'₀₁₂₃₄'[number]}")
    for number, (x, y) in enumerate(hidden, 1):
        draw.circle(x, y, 16, f"h{'₀₁₂₃₄'[number]}", BLUE)
    draw.circle(*out, 16, "y", ORANGE)
    draw.text(180, 20, "W₁, b₁", BLUE).text(360, 20, "W₂, b₂", ORANGE)
    draw.text(90, 212, _("inputs"), QUIET).text(270, 212, _("hidden layer: σ(W₁x + b₁)"), QUIET)
    return draw.text(450, 212, _("output: σ(W₂h + b₂)"), QUIET)


def _backpropagation(language: str) -> Diagram:
    draw = Diagram(_("Values go forward through the network, gradients go back"), 720, 170, language)
    parts = ("x", "a₁ = W₁x + b₁", "h = σ(a₁)", "a₂ = W₂h + b₂", "y = σ(a₂)", "L")
    widths, x, middles = (40, 116, 90, 116, 90, 40), 16.0, []
    for text, width in zip(parts, widths, strict=True):
        draw.box(x, 56, width, 40, text, BLUE if text in ("x", "L") else QUIET)
        middles.append((x, x + width))
        x += width + 36
    for (_a, right), (left, _b) in pairwise(middles):
        draw.arrow([(right + 3, 68), (left - 3, 68)], BLUE)
        draw.arrow([(left - 3, 86), (right + 3, 86)], RED)
    draw.text(16, 34, _("forward: values"), BLUE, anchor="start").text(
        704, 34, _("backward: gradients"), RED, anchor="end"
    )
    for number, text in ((1, "δ₁ = (W₂ᵀδ₂) ⊙ h(1 − h)"), (3, "δ₂ = y − t")):
        draw.text(sum(middles[number]) / 2, 122, text, RED)
    draw.text(sum(middles[1]) / 2, 146, "∂L/∂W₁ = δ₁ xᵀ", RED)
    return draw.text(sum(middles[3]) / 2, 146, "∂L/∂W₂ = δ₂ hᵀ", RED)


def _convolution(language: str) -> Diagram:
    draw = Diagram(
        _("A window of three by three slides over a picture; each position gives one number"),
        640,
        210,
        language,
    )
    picture = [[str(int(2 <= column <= 3)) for column in range(6)] for _row in range(6)]
    window = [
        [BLUE if 1 <= row <= 3 and 1 <= column <= 3 else INK for column in range(6)] for row in range(6)
    ]
    draw.grid(20, 40, picture, 24, window)
    draw.grid(250, 76, [["−1", "0", "1"]] * 3, 24, [[ORANGE] * 3] * 3)
    out = [["3", "3", "−3", "−3"] for _row in range(4)]
    draw.grid(
        420,
        64,
        out,
        24,
        [[GREEN if (row, column) == (1, 1) else INK for column in range(4)] for row in range(4)],
    )
    draw.text(200, 116, "×", size=20).text(372, 116, "→", size=20)
    draw.text(92, 30, _("picture"), bold=True).text(286, 62, _("filter"), ORANGE, bold=True)
    draw.text(468, 50, _("feature map"), GREEN, bold=True)
    return draw.text(320, 202, _("nine products, one sum; the same nine weights everywhere"), QUIET)


def _pooling(language: str) -> Diagram:
    draw = Diagram(_("Max pooling keeps the largest of every four neighbours"), 420, 140, language)
    values = [["1", "3", "0", "2"], ["0", "2", "1", "1"], ["5", "0", "2", "0"], ["1", "1", "0", "4"]]
    colours = (BLUE, ORANGE, GREEN, RED)
    fills = [[colours[2 * (row // 2) + column // 2] for column in range(4)] for row in range(4)]
    draw.grid(30, 24, values, 24, fills)
    draw.arrow([(145, 72), (225, 72)])
    draw.grid(250, 48, [["3", "2"], ["5", "4"]], 24, [[BLUE, ORANGE], [GREEN, RED]])
    return draw.text(185, 62, _("maximum"), QUIET)


def _overfitting(language: str) -> Diagram:
    draw = Diagram(_("Training loss falls on; validation loss falls and rises again"), 560, 210, language)
    draw.arrow([(50, 180), (530, 180)]).arrow([(50, 180), (50, 20)])
    train = [20 + 130 * 0.95**i for i in range(71)]
    validation = [loss + 10 + 0.1416 * i**1.5 for i, loss in enumerate(train)]  # lowest at i = 33
    for losses, colour in ((train, BLUE), (validation, ORANGE)):
        draw.line([(50 + 6.4 * i, 180 - loss) for i, loss in enumerate(losses)], colour, 2)
    draw.text(440, 148, _("training"), BLUE).text(440, 62, _("validation"), ORANGE)
    draw.line([(261, 30), (261, 180)], GREEN, 1.2, dashed=True).text(261, 24, _("stop here"), GREEN)
    draw.text(120, 198, _("underfitting"), QUIET).text(400, 198, _("overfitting"), QUIET)
    return draw.text(44, 14, _("loss"), QUIET).text(515, 198, _("step"), QUIET)


def _counts(language: str) -> Diagram:
    draw = Diagram(_("Precision is a column of the table of counts, recall is a row"), 560, 200, language)
    draw.text(200, 22, _("found"), bold=True).text(330, 22, _("not found"), bold=True)
    draw.text(120, 66, _("spam"), anchor="end", bold=True).text(
        120, 126, _("no spam"), anchor="end", bold=True
    )
    draw.box(140, 36, 120, 50, "TP", GREEN).box(270, 36, 120, 50, "FN", RED)
    draw.box(140, 96, 120, 50, "FP", RED).box(270, 96, 120, 50, "TN", GREEN)
    draw.frame(134, 30, 132, 122, BLUE).frame(130, 26, 268, 66, ORANGE)
    draw.text(408, 64, _("recall = TP / row"), ORANGE, anchor="start")
    return draw.text(200, 174, _("precision = TP / column"), BLUE)


def _front(language: str) -> Diagram:
    draw = Diagram(
        _("The Pareto front joins the models that no other beats in both cost and quality"),
        520,
        220,
        language,
    )
    draw.arrow([(60, 185), (490, 185)]).arrow([(60, 185), (60, 20)])
    front = [(110, 150), (190, 95), (290, 62), (430, 55)]
    draw.line(front, BLUE, 1.6, dashed=True)
    for x, y in front:
        draw.circle(x, y, 6, colour=BLUE)
    for x, y in ((230, 130), (350, 100), (410, 120)):
        draw.circle(x, y, 6, colour=QUIET)
    draw.circle(290, 62, 10, colour=GREEN).text(290, 42, _("good enough, and cheapest"), GREEN)
    draw.text(430, 42, _("best"), BLUE).text(380, 140, _("beaten"), QUIET)
    return draw.text(52, 14, _("quality"), QUIET).text(470, 205, _("cost"), QUIET)


def _deployment(language: str) -> Diagram:
    draw = Diagram(
        _("A run is exported to a folder, which serves Python, the command line and HTTP"), 640, 190, language
    )
    draw.box(20, 75, 90, 44, _("the run"), BLUE)
    draw.box(190, 40, 170, 114, "", ORANGE).text(275, 60, _("exported folder"), ORANGE, bold=True)
    for number, name in enumerate(("model.safetensors", "config.json", "tokenizer.json", "labkit.toml")):
        draw.text(275, 82 + 18 * number, name, size=12)
    draw.arrow([(110, 97), (188, 97)]).text(149, 88, "export", QUIET, 11)
    for number, name in enumerate(("lk.Predictor", "labkit predict", "labkit serve")):
        y = 30 + 56 * number
        draw.box(460, y, 150, 38, name, GREEN).arrow([(362, 97), (458, y + 19)])
    return draw


DIAGRAMS: dict[str, Callable[[str], Diagram]] = {
    "steps": _steps,
    "padding": _padding,
    "network": _network,
    "backpropagation": _backpropagation,
    "convolution": _convolution,
    "pooling": _pooling,
    "overfitting": _overfitting,
    "counts": _counts,
    "front": _front,
    "deployment": _deployment,
}
