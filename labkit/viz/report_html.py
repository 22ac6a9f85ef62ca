"""Evaluation reports as HTML: scores with intervals, threshold curves, calibration, comparison, slices."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from labkit.core import html
from labkit.core.html import Html
from labkit.core.units import plain, score, unit_in
from labkit.evaluate.calibration import Calibration
from labkit.evaluate.compare import Comparison
from labkit.evaluate.conclusion import Conclusion
from labkit.evaluate.decision import DecisionReport, per
from labkit.evaluate.intervals import Interval
from labkit.evaluate.membership import MembershipReport
from labkit.evaluate.multilabel import MultilabelReport
from labkit.evaluate.regression import RegressionReport
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.report_base import RowReport
from labkit.evaluate.scores import Scores
from labkit.evaluate.thresholds import Thresholds
from labkit.i18n import _, translate
from labkit.search.challenge import Challenge
from labkit.viz import charts, speech_html
from labkit.viz.figure import Bars, Line, Rule
from labkit.viz.svg import inline
from labkit.viz.translation_html import translations
from labkit.viz.words import word

#: Rows of a table of disagreements or of slices.
LINES = 30
#: Rows that are shown of those that were answered worst.
WORST = 12
#: Numbers of a regression whose plots are shown.
DRAWN_NUMBERS = 3
#: What chance, or perfect calibration, gives.
DIAGONAL = Rule((0, 1), (0, 1))
#: Score → key of its label, where the two differ.
_CALLED = {"accuracy": "exact", "support": "rows"}
_OWN = ("mae", "rmse", "r2", "mean", "deviation", "f1", "f1_micro", "hamming", "precision", "recall", "loss")


def headline(report: ClassificationReport, error: float, language: str) -> Html:
    """Scores in large type, each with its interval."""
    words = {score: word(score, language) for score in ("f1", "accuracy", "precision", "recall", "loss")}
    cards = _scored(report.scores, report.intervals, words, ".3f")
    cards.append((word("calibration_error", language), f"{error:.3f}"))
    cards.append((word("rows_evaluated", language), f"{int(report.counted.sum()):,}"))
    told = html.paragraph(word("intervals_are", language), "quiet")
    return html.joined(warned(report, language), html.cards(cards), told)


def conclusion(found: Conclusion, language: str) -> Html:
    """The model against its baselines: a sentence, the scores as bars with their intervals, what to try next."""
    tone: html.Tone = {"better": "good", "worse": "bad", "equal": "warn"}.get(found.outcome, "info")
    parts: list[Html] = []
    if found.decision is not None:
        parts += [decision(found.decision, language), html.paragraph(translate(found.sentence, language))]
    else:
        parts.append(html.note(translate(found.sentence, language), tone))
    if len(found.bars) > 1:
        names = [word("this_model", language), *(translate(bar.name, language) for bar in found.bars[1:])]
        label = word(found.metric, language)
        bars = [(name, bar.value, bar.low, bar.high) for name, bar in zip(names, found.bars, strict=True)]
        parts.append(inline(charts.scores(bars, label, found.metric)))
    if found.advice:
        parts += [html.heading(word("try_next", language), 4)]
        parts += [html.listed(translate(text, language) for text in found.advice)]
    return html.joined(*parts)


def decision(found: DecisionReport, language: str) -> Html:
    """The expected cost of the decisions of a scenario: what follows in sentences, and the table of alternatives."""
    tone: html.Tone = {"better": "good", "worse": "bad", "equal": "warn"}.get(found.outcome, "info")
    first, *rest = (translate(each, language) for each in found.sentences)
    head, lines = found.cost_table()
    unit = f" ({found.scenario.unit})" if found.scenario.unit else ""
    head = ["", translate(_("expected cost {per}", per=per(found.scenario)), language) + unit,
            translate(_("saved by the model"), language)]  # fmt: skip
    names = [word("this_model", language), *(translate(name, language) for name in found.others)]
    to = " – " if language == "zh" else " to "
    shown = [
        [name, *(cell.replace(" to ", to) for cell in line[1:])]
        for name, line in zip(names, lines, strict=True)
    ]
    given = found.scenario.decision
    return html.joined(
        html.heading(given or translate(_("Decision"), language), 4), html.note(first, tone), html.listed(rest),
        html.scrolled(html.table(head, shown, numeric=(1, 2)), head[1]),
    )  # fmt: skip


def challenge(found: Challenge, language: str) -> Html:
    """Champion against challenger: the verdict, what it rests on, and the table."""
    tone: html.Tone = {"replace": "good", "keep": "info"}.get(found.verdict, "warn")  # type: ignore[assignment]
    verdict, *rest = (translate(each, language) for each in found.sentences)
    rest += [translate(each, language) for each in found.notes]
    head = [_("rows"), _("number"), _("champion"), _("challenger"), _("gain, with interval")]
    named = {"new": _("untouched new rows"), "old": _("old test rows")}
    lines = [
        [translate(named[place], language), f"{line['rows']:,.0f}", plain(line["champion"], 4),
         plain(line["challenger"], 4),
         f"{plain(line['gain'], 4)} ({plain(line['gain_low'], 4)} – {plain(line['gain_high'], 4)})"]
        for place, line in found.table.to_dict(orient="index").items()
    ]  # fmt: skip
    shown = html.table([translate(each, language) for each in head], lines, numeric=range(1, 5))
    return html.joined(html.note(verdict, tone), html.listed(rest), html.scrolled(shown, verdict))


def _scored(
    values: Mapping[str, float],
    intervals: Mapping[str, Interval],
    words: Mapping[str, str],
    style: str = ".4g",
) -> list[tuple[str, str]]:
    """Scores for cards, each with its interval where it has one."""

    def told(name: str, value: float) -> str:
        return score(value, name) if name in ("mae", "rmse", "r2") else f"{value:{style}}"

    ranges = {name: f" ({told(name, low)} – {told(name, high)})" for name, (low, high) in intervals.items()}
    return [(said + ranges.get(name, ""), told(name, values[name])) for name, said in words.items()]


def warned(report: ClassificationReport | RowReport | Scores, language: str) -> Html:
    """What a reader of the scores should know first."""
    return html.joined(*(html.note(translate(text, language), "warn") for text in report.warnings))


def membership(report: MembershipReport, language: str) -> Html:
    """What membership inference finds out, in words and numbers."""
    high = report.intervals["auroc"]
    said = "audit_leaks" if high[0] > 0.5 else "audit_nothing"
    tone: html.Tone = "warn" if high[0] > 0.5 else "good"
    words = {"auroc": word("audit_auroc", language), "tpr": word("audit_tpr", language)}
    cards = _scored(report.scores, report.intervals, words, ".3f")
    if report.bound is not None:
        cards.append((word("audit_bound", language, epsilon=f"{report.epsilon:.2f}"), f"{report.bound:.3f}"))
    notes = [html.note(translate(text, language), "warn") for text in report.warnings]
    return html.joined(html.note(word(said, language), tone), *notes, html.cards(cards))


def by_class(report: ClassificationReport, language: str) -> Html:
    """Precision, recall and F1 of every class."""
    head = [word(key, language) for key in ("class", "precision", "recall", "f1", "rows")]
    lines = [
        [name, *(f"{rate:.3f}" for rate in rates), f"{support:,.0f}"]
        for name, (*rates, support) in zip(report.classes[:LINES], report.per_class.to_numpy(), strict=False)
    ]
    return html.table(head, lines, numeric=(1, 2, 3, 4), limit=60)


def rowwise(report: RowReport, language: str) -> Html:
    """Report of multi-label classification or regression: scores, each label or number, and the worst
    predictions."""
    called = {
        name: word(key, language) for name, key in {**dict(zip(_OWN, _OWN, strict=True)), **_CALLED}.items()
    }
    units = {name: unit_in(name) for name in report.names} if isinstance(report, RegressionReport) else {}
    one = next(iter(units.values()), "") if len(units) == 1 else ""
    if one:
        called |= {name: f"{called[name]} ({one})" for name in ("mae", "rmse", "mean", "deviation")}
    cards = _scored(report.scores, report.intervals, {name: called[name] for name in report.headlines})
    cards.append((word("rows_evaluated", language), f"{int(report.counted.sum()):,}"))
    if left_out := int((~report.counted).sum()):
        cards.append((word("left_out", language), f"{left_out:,}"))
    frame = report.per_name.head(LINES)
    kind = "label" if isinstance(report, MultilabelReport) else "value"
    each = [
        [_with_unit(name, units), *(plain(value, 4) for value in line)]
        for name, line in zip(frame.index, frame.to_numpy(), strict=True)
    ]
    head = [word(kind, language), *(called[name] for name in frame.columns)]
    parts = [
        warned(report, language), html.cards(cards), html.paragraph(word("intervals_are", language), "quiet"),
        html.table(head, each, numeric=range(1, len(head)), limit=60),
    ]  # fmt: skip
    if isinstance(report, RegressionReport):
        parts.insert(2, _agreement(report, units, language))
    if len(worst := report.mistakes(WORST)):
        parts += [html.heading(word("worst_mistakes", language), 4), _worst(worst, report, language)]
    return html.joined(*parts)


def _with_unit(name: str, units: Mapping[str, str]) -> str:
    return f"{name} ({units[name]})" if units.get(name) else name


def _agreement(report: RegressionReport, units: Mapping[str, str], language: str) -> Html:
    """Predicted against true values of each number, with the residuals."""
    keys = ("predicted_against_true", "true_value", "predicted_value", "residual")
    parts: list[Html] = []
    for place, name in enumerate(report.names[:DRAWN_NUMBERS]):
        title, true, predicted, residual = (word(key, language) for key in keys)
        unit = f" ({units[name]})" if units.get(name) else ""
        title = f"{title}: {name}" if len(report.names) > 1 else title
        words = (title, true + unit, predicted + unit, residual + unit)
        said = word("r2_is", language, name=name, r2=f"{report.per_name['r2'].iloc[place]:.3f}")
        pair = charts.agreement(
            report.truth[report.counted, place], report.answers[report.counted, place], words, said
        )
        parts += map(inline, pair)
    if int(report.counted.sum()) > charts.MOST_POINTS:
        parts.append(html.paragraph(word("points_shown", language, count=f"{charts.MOST_POINTS:,}"), "quiet"))
    return html.side_by_side(*parts)


def scores(found: Scores, language: str) -> Html:
    """Report of a task without labels: its scores in large type, what they mean, the worst predictions if
    available."""
    keys = {"accuracy": f"right_{found.task}", "loss": "loss"}
    own = {} if found.translation is None else found.translation.scores()[0]
    own |= {} if found.speech is None else found.speech.scores()[0]
    words = {name: word(keys.get(name, f"score_{name}"), language) for name in found if name not in own}
    cards = _scored(found, {} if own else found.intervals, words)
    cards.append((word("rows_evaluated", language), f"{found.rows:,}"))
    first = html.note(translate(found.verdict, language), "bad") if found.verdict else Html("")
    parts = [first, warned(found, language), html.cards(cards)]
    parts += [html.paragraph(word(f"measured_{found.task}", language), "quiet")]
    if found.intervals:
        parts.append(html.paragraph(word("intervals_are", language), "quiet"))
    if found.translation is not None:
        parts.append(translations(found.translation, language))
    elif found.speech is not None:
        parts.append(speech_html.report(found.speech, language))
    elif found.worst is not None and len(found.worst):
        title = word("worst_mistakes", language)
        head = [word(key, language) for key in (str(found.worst.columns[0]), "truth", "answer", "score_f1")]
        none = word("no_answer", language)
        worst = found.worst.head(WORST).itertuples(index=False)
        lines = [[one[0], one.truth or none, one.answer or none, f"{one.f1:.2f}"] for one in worst]
        table = html.table(head, lines, numeric=(3,), limit=160)
        parts += [html.heading(title, 4), html.scrolled(table, title)]
    return html.joined(*parts)


def _worst(worst: pd.DataFrame, report: RowReport, language: str) -> Html:
    if not worst["text"].any():
        worst = worst.drop(columns="text")
    words = {name: word(name, language) for name in ("row", "text", "truth", "loss")}
    words["predicted"] = word("answer", language)
    if isinstance(report, RegressionReport):
        words |= {f"{name}, answered": word("answered", language, name=name) for name in report.names}
    numeric = [place for place, kind in enumerate(worst.dtypes) if pd.api.types.is_numeric_dtype(kind)]
    lines = [
        [plain(value, 5) if isinstance(value, float) else value for value in line]
        for line in worst.astype(object).itertuples(index=False)
    ]
    table = html.table([words.get(name, name) for name in worst.columns], lines, numeric=numeric, limit=160)
    return html.scrolled(table, word("worst_mistakes", language))


def curves(found: Thresholds, threshold: float, language: str) -> Html:
    """Precision over recall and the ROC curve, the threshold marked in both."""
    at = found.at(threshold)
    alarms = (at["found"] - at["hit"]) / found.negatives if found.negatives else float("nan")
    precision, recall = word("precision", language), word("recall", language)
    pr, roc = (
        [Line(x, y), Line([x_at], [y_at], colour=2, joined=False, marker="ring")]
        for x, y, x_at, y_at in (
            (found.recall, found.precision, at["recall"], at["precision"]),
            (np.append(0.0, found.false_alarms), np.append(0.0, found.recall), alarms, at["recall"]),
        )
    )
    average = f"{word('average_precision', language)} {found.average_precision:.3f}"
    area = f"{word('roc_area', language)} {found.roc_auc:.3f}"
    return html.side_by_side(
        inline(charts.unit(pr, word("pr_curve", language), recall, precision, average)),
        inline(charts.unit([DIAGONAL, *roc], "ROC", word("false_alarms", language), recall, area)),
    )


def at_threshold(found: Thresholds, threshold: float, language: str) -> Html:
    """What a threshold is worth."""
    at = found.at(threshold)
    cards = [(word(score, language), f"{at[score]:.3f}") for score in ("precision", "recall", "f1")]
    cards.append((word("found_of", language, positives=f"{found.positives:,}"), f"{at['hit']:,.0f}"))
    cards.append((word("false_ones", language), f"{at['found'] - at['hit']:,.0f}"))
    cards.append((word("roc_area", language), f"{found.roc_auc:.3f}"))
    cards.append((word("average_precision", language), f"{found.average_precision:.3f}"))
    return html.cards(cards)


def calibration(found: Calibration, language: str) -> Html:
    """Confidence against accuracy, as it is and at the fitted temperature."""
    lines, most = [], max(int(found.count.max(initial=0)), 1)
    for number, each in enumerate((found, found.scaled)):
        if each is not None:
            kept = each.count > 0
            dash = "dash" if number else ""
            lines.append(
                Line(each.confidence[kept], each.accuracy[kept], "", 1 + number, dash, marker="circle")
            )
    count = len(found.count)
    amounts = Bars((np.arange(count) + 0.5) / count, 0.3 * found.count / most, "", 7, 1 / count, opacity=0.35)
    drawn = charts.unit(
        [amounts, DIAGONAL, *lines], word("calibration", language), word("confidence", language),
        word("accuracy", language), f"{word('calibration_error', language)} {found.error:.3f}",
    )  # fmt: skip
    cards = [
        (word("calibration_error", language), f"{found.error:.3f}"),
        (word("worst_bin", language), f"{found.greatest:.3f}"),
    ]
    said = [html.paragraph(word("calibration_said", language), "quiet")]
    if (scaled := found.scaled) is not None:
        cards.append((word("temperature", language), f"{scaled.temperature:.2f}"))
        cards.append((word("error_scaled", language), f"{scaled.error:.3f}"))
        said.append(html.paragraph(word("temperature_said", language), "quiet"))
    return html.joined(html.cards(cards), html.side_by_side(inline(drawn)), *said)


def comparison(found: Comparison, language: str) -> Html:
    """Two runs on the same rows: scores, gains with intervals, the paired test, and where they differ."""
    a, b = found.names
    head = [word("score", language), a, b, word("gain", language), word("interval", language)]
    lines = [
        [word(score, language), f"{x:.3f}", f"{y:.3f}", f"{gain:+.3f}", f"{low:+.3f} … {high:+.3f}"]
        for score, (x, y, gain, low, high) in zip(found.table().index, found.table().to_numpy(), strict=True)
    ]
    low, high = found.gains["f1"]
    verdict, tone = "no_difference", "info"
    if low > 0:
        verdict, tone = "better", "good"
    elif high < 0:
        verdict, tone = "worse", "bad"
    test = word(
        "mcnemar", language, a=a, b=b, first=found.only_first, second=found.only_second, p=f"{found.p:.3g}"
    )
    differ = found.disagreements.drop(columns="row").head(LINES)
    head_of = [word("text", language), word("truth", language), a, b]
    parts = [
        html.note(word(verdict, language, a=a, b=b), tone), html.table(head, lines, numeric=(1, 2, 3, 4), limit=40),
        html.paragraph(test),
    ]  # fmt: skip
    if len(differ):
        table = html.table(head_of, differ.to_numpy().tolist(), word("one_is_right", language), limit=160)
        parts.append(html.scrolled(table, word("one_is_right", language)))
    return html.joined(*parts)


def slices(found: pd.DataFrame, language: str, column: str = "", unit: str = "") -> Html:
    """Scores of the groups of a column, in their order; those below the overall score are marked."""
    head = [word(key, language) for key in ("slice", "rows", "accuracy", "interval", "f1")] + [""]
    name = word("by_length", language) if column == "length" else column
    head[0] = (f"{name} ({unit})" if unit else name) or head[0]
    lines = [
        [name, f"{line.rows:,}", f"{line.accuracy:.3f}", f"{line.accuracy_low:.3f} – {line.accuracy_high:.3f}",
         f"{line.f1:.3f}", html.chip(word("weak", language), "warn") if line.below else ""]
        for name, line in zip(found.index[:LINES], found.itertuples(index=False), strict=False)
    ]  # fmt: skip
    return html.table(head, lines, numeric=(1, 2, 3, 4), limit=60)
