"""Diagnostic reports as HTML: scores with intervals, gains on the baselines, and the decision curve."""

from __future__ import annotations

from labkit.core import html
from labkit.core.html import Html
from labkit.evaluate.diagnostics import BETTER, DiagnosticReport
from labkit.i18n import translate
from labkit.viz.figure import QUARTERS, Axis, FigureSpec, Line, Plot, Rule
from labkit.viz.svg import inline
from labkit.viz.words import word

#: The net benefit is drawn down to minus this share of the greatest one.
BELOW = 0.25


def diagnostics(found: DiagnosticReport, language: str) -> Html:
    """Scores in large type, the model against its baselines, and the decision curve."""
    called = {name: word(f"diagnostic_{name}", language) for name in BETTER}
    called["sensitivity"] = word(
        "diagnostic_sensitivity", language, specificity=f"{found.specificity:.0%}".replace("%", " %")
    )
    cards = [
        (f"{called[name]} ({low:.3f} – {high:.3f})", f"{found.scores[name]:.3f}")
        for name, (low, high) in found.intervals.items()
    ]
    rows = word(
        "diagnostic_rows", language, rows=f"{len(found.positive):,}", positives=f"{int(found.positive.sum()):,}",
        name=found.name,
    )  # fmt: skip
    parts = [html.paragraph(rows), html.cards(cards)]
    if found.baselines:
        parts.append(_compared(found, called, language))
    parts.append(html.side_by_side(inline(decision_curve(found, language))))
    parts.append(html.paragraph(word("net_benefit_said", language), "quiet"))
    return html.joined(*parts)


def decision_curve(found: DiagnosticReport, language: str) -> FigureSpec:
    """Net benefit by threshold probability: of the model with its interval, of the baselines, and of treating all
    or nobody."""
    curve = found.decision_curve()
    x = curve["threshold"].tolist()
    most = max(float(curve["net_benefit"].max()), float(found.positive.mean()))

    def line(values: list[float], label: str, colour: int, dash: str = "") -> Line:
        kept = [value if value >= -BELOW * most else float("nan") for value in values]
        return Line(x, kept, label, colour, dash)

    marks: list[Line | Rule] = [Rule((0, 1), (0, 0), word("treat_none", language))]
    marks.append(line(curve["treat_all"].tolist(), word("treat_all", language), 7, "dash"))
    for number, (name, report) in enumerate(found.baselines.items()):
        values = report.decision_curve()["net_benefit"].tolist()
        marks.append(line(values, translate(name, language), 3 + number % 4, "dot"))
    marks += [line(curve[edge].tolist(), "", 1, "dot") for edge in ("low", "high")]
    marks.append(line(curve["net_benefit"].tolist(), word("this_model", language), 1))
    best = curve.loc[curve["net_benefit"].idxmax()]
    title, over = word("decision_curve", language), word("threshold_probability", language)
    said = f"{title}. {over} {best['threshold']:g}: {best['net_benefit']:.3f}"
    axes = Axis(over, (0, 1), QUARTERS), Axis(word("net_benefit", language), (-BELOW * most, 1.05 * most))
    return FigureSpec([Plot(marks, title, *axes)], said, height=286)


def _compared(found: DiagnosticReport, called: dict[str, str], language: str) -> Html:
    gain = word("diagnostic_gain", language)
    head = ["", *called.values(), gain]
    lines: list[list[object]] = []
    names = {
        str(name): translate(name, language) for name in found.baselines
    }  # a frame has them as plain texts
    for name, line in found.compare(found.baselines).to_dict(orient="index").items():
        shown = word("this_model", language) if name == "model" else names[name]
        gained = ""
        if name != "model":
            low, high = line["auroc_gain_low"], line["auroc_gain_high"]
            gained = f"{line['auroc_gain']:+.3f} ({low:+.3f} – {high:+.3f})"
        lines.append([shown, *(f"{line[score]:.3f}" for score in BETTER), gained])
    return html.scrolled(html.table(head, lines, numeric=range(1, len(head)), limit=60), gain)
