"""A study as sentences, as a table and as a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from labkit.core import html
from labkit.core.units import scaled, sized, timed
from labkit.core.units import score as score_text
from labkit.evaluate.decision import amount, per
from labkit.i18n import _, translate
from labkit.i18n.labels import score_name
from labkit.i18n.message import Message
from labkit.search import results
from labkit.search.record import StudyRecord
from labkit.search.study import StudyHandle
from labkit.viz import svg
from labkit.viz.dashboard import score_against_cost
from labkit.viz.figure import FigureSpec
from labkit.viz.words import language as language_of

STATUSES = {
    "waiting": _("waiting"), "training": _("training"), "paused": _("paused"), "pruned": _("left out"),
    "finished": _("finished"), "failed": _("failed"), "created": _("created"), "running": _("running"),
    "stopped": _("stopped"), "lost": _("lost"),
}  # fmt: skip


def sentences(study: StudyHandle, language: str | None = None) -> list[str]:
    """How far a study is, who leads, the choice and its test, a sentence each."""
    language = language_of(language)
    record = study.record
    found = results.results_of(study)
    told = [_progress(record)]
    told += [
        _("Now training: {name}, step {step} of {steps}.", name=each.name,
          step=study.store.run(each.run).step, steps=each.steps)
        for each in record.candidates if each.status == "training" and each.run
    ]  # fmt: skip
    if record.message:
        told.append(_("Stopped: {message}", message=record.message))
    told += [_("{name} failed: {error}", name=each.name, error=each.error)
             for each in record.candidates if each.status == "failed"]  # fmt: skip
    if not found and (leader := study.leader) is not None:
        score = next(each.score for each in record.candidates if each.name == leader)
        told.append(
            _("{name} leads: {metric} {value} on the validation rows.", name=leader,
              metric=score_name(record.metric), value=score_text(score or math.nan, record.metric))
        )  # fmt: skip
    if found:
        told += _verdict(record, found, record.settings["cost"])
    return [translate(each, language) for each in [*told, *record.notes]]


def _progress(record: StudyRecord) -> Message:
    status = [each.status for each in record.candidates]
    seconds = sum(each.seconds for each in record.candidates)
    low, high = (sum(float(each.energy[end]) for each in record.candidates) for end in (0, 1))
    return _(
        "{finished} of {count} candidates finished, {pruned} left out early; {seconds} of training so far, "
        "{low:.2g} to {high:.2g} Wh.",
        finished=status.count("finished"), count=len(status), pruned=status.count("pruned"),
        seconds=timed(seconds), low=low, high=high,
    )  # fmt: skip


def _verdict(record: StudyRecord, found: Mapping[str, results.Result], cost: str) -> list[Message]:
    """The choice by the rule of one standard error, and how it does on the test rows."""
    order = results.ordered(found)
    leader = found[order[0]]
    metric = leader.metric
    if leader.scenario is not None:
        return _decided(record, found, cost)
    told = [_("{name} leads: {metric} {value} on the validation rows.", name=called(record, order[0]),
              metric=score_name(metric), value=score_text(leader.validation.scores[metric], metric))]  # fmt: skip
    known = {
        name for name, each in found.items() if results.costs_of(each.candidate, {}).get(cost) is not None
    }
    if not known:
        return told
    sizing = results.choice_of(found, cost)
    chosen = found[sizing.choice]
    told.append(
        _("Take {name}, the smallest ({cost}: {size}) within one standard error of the best.",
          name=called(record, sizing.choice), cost=results.COSTS[cost],
          size=scaled(sizing.table.loc[sizing.choice, "cost"]))
    )  # fmt: skip
    low, high = chosen.test.intervals[metric]
    told.append(
        _("On the test rows {name} has {metric} {value} ({low} to {high}).", name=called(record, sizing.choice),
          metric=score_name(metric), value=score_text(chosen.test.scores[metric], metric),
          low=score_text(low, metric), high=score_text(high, metric))
    )  # fmt: skip
    if sizing.choice != order[0]:
        told.append(_against(record, found, sizing.choice, order[0]))
    return told


def _decided(record: StudyRecord, found: Mapping[str, results.Result], cost: str) -> list[Message]:
    """The same by the expected cost of decisions."""
    order = results.ordered(found)
    scenario, first = found[order[0]].scenario, found[order[0]].chosen_by
    assert scenario is not None and first is not None
    told = [_("{name} leads: expected cost {per} {cost} on the validation rows.", name=called(record, order[0]),
              per=per(scenario), cost=amount(first.cost, scenario))]  # fmt: skip
    if slow := [called(record, name) for name in order if not found[name].fast_enough]:
        told.append(_("Slower than {limit:g} ms (95th percentile), and so not chosen: {names}.",
                      limit=scenario.latency, names=", ".join(map(str, slow))))  # fmt: skip
    if not any(results.costs_of(each.candidate, {}).get(cost) is not None for each in found.values()):
        return told
    sizing = results.choice_of(found, cost)
    told.append(
        _("Take {name}, the smallest ({cost}: {size}) within one standard error of the least expected cost.",
          name=called(record, sizing.choice), cost=results.COSTS[cost],
          size=scaled(sizing.table.loc[sizing.choice, "cost"]))
    )  # fmt: skip
    chosen = found[sizing.choice].decision
    assert chosen is not None
    return [*told, _("On the test rows, {name}:", name=called(record, sizing.choice)), *chosen.sentences]


def _against(record: StudyRecord, found: Mapping[str, results.Result], choice: str, leader: str) -> Message:
    """The choice against the leader, paired, on the test rows."""
    ours: Any = found[choice].test
    line = ours.compare({leader: found[leader].test}).loc[leader]
    gain = "f1_gain" if "f1_gain" in line else "gain"
    return _(
        "Against {leader} on the same test rows: {gain:+.3f} ({low:+.3f} to {high:+.3f}).",
        leader=called(record, leader), gain=line[gain], low=line[f"{gain}_low"], high=line[f"{gain}_high"],
    )  # fmt: skip


def figure(study: StudyHandle, cost: str, language: str | None = None) -> FigureSpec:
    """Validation score against cost; the choice has a star."""
    language = language_of(language)
    found = results.results_of(study)
    points = results.points_of(found, cost)
    metric = next(iter(found.values())).metric if found else "f1"
    if points:
        choice = results.choice_of(found, cost).choice
        points = [
            type(each)(each.id, f"★ {each.name}" if each.name == choice else each.name, each.cost, each.score)
            for each in points
        ]
    scenario = study.scenario
    decision = None if scenario is None else _("expected cost {per}, validation rows", per=per(scenario))
    return score_against_cost(points, metric, cost, study.name, language, results.COSTS[cost], decision)


def table(study: StudyHandle, language: str | None = None) -> html.Html:
    """The table of a study, with what is not known left empty."""
    language = language_of(language)
    record, found = study.record, results.results_of(study)
    frame = results.table_of(study, found, record.settings["prices"])
    metric = next(iter(found.values())).metric if found else record.metric or "f1"
    head = [
        _("candidate"), _("status"), _("validation"), _("test, with interval"), _("gain on the leader"),
        _("parameters"), _("FLOPs"), _("ms p50"), _("ms p95"), _("size"), _("training"), _("energy in Wh"),
    ]  # fmt: skip
    scenario = study.scenario
    decided = scenario is not None and "decision_cost" in frame
    if decided:
        head[3:3] = [_("expected cost {per}", per=per(scenario)), _("saved against the leader")]
    priced = "training_price" in frame
    currency = record.settings["prices"].get("currency", "")
    if priced:
        head += [_("price of training"), _("price of 1,000"), _("break-even")]
    lines = []
    for name, line in frame.to_dict(orient="index").items():
        cells = [
            str(name), translate(STATUSES.get(line["status"], line["status"]), language),
            _number(line.get("validation"), "{:.4f}"), _interval(line, metric, ("low", "high"), "{:.4f}"),
            _interval(line, "gain", ("gain_low", "gain_high"), "{:+.4f}"),
            _said(line.get("parameters"), scaled), _said(line.get("flops"), scaled),
            _number(line.get("ms_p50"), "{:.2f}"), _number(line.get("ms_p95"), "{:.2f}"),
            _said(line.get("bytes"), lambda value: sized(int(value))), _said(line.get("seconds"), timed),
            _range(line.get("wh_low"), line.get("wh_high")),
        ]  # fmt: skip
        if decided:
            cells[3:3] = [
                _interval(line, "decision_cost", ("decision_low", "decision_high"), "{:,.4g}"),
                _interval(line, "saving", ("saving_low", "saving_high"), "{:+,.4g}"),
            ]
        if priced:
            cells += [_price(line.get(each), currency) for each in ("training_price", "price_1000")]
            cells.append(_said(line.get("break_even"), _answers))
        lines.append(cells)
    names = [translate(each, language) for each in head]
    lines = [[first, *map(_whole, rest)] for first, *rest in lines]
    return html.scrolled(html.table(names, lines, numeric=range(2, len(head))), study.name)


def as_html(study: StudyHandle, language: str | None = None, cost: str | None = None) -> html.Html:
    """Sentences, table and, once there are scores, the figure; ``cost``: what it is drawn over."""
    told = [html.paragraph(each) for each in sentences(study, language)]
    parts: list[html.Html | str] = [*told, table(study, language)]
    cost = cost or study.record.settings["cost"]
    if any(results.costs_of(each.candidate, {}).get(cost) for each in results.results_of(study).values()):
        parts.append(svg.inline(figure(study, cost, language)))
    return html.joined(*parts)


def called(record: StudyRecord, name: str) -> str:
    """The name of a candidate as it is shown: that of a baseline is a word of labkit."""
    kind = next((each.kind for each in record.candidates if each.name == name), "")
    return _(name) if kind == "baseline" else name


def _whole(text: str) -> html.Html:
    """A cell that is not broken into lines."""
    return html.Html(f'<span style="white-space:nowrap">{html.safe(text)}</span>')


def _known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _number(value: Any, form: str) -> str:
    return form.format(value) if _known(value) else ""


def _said(value: Any, form: Any) -> str:
    return form(value) if _known(value) else ""


def _answers(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:,.0f}"


def _interval(line: Mapping[Any, Any], name: str, ends: tuple[str, str], form: str) -> str:
    if not _known(line.get(name)):
        return ""
    value, low, high = (form.format(line[each]) for each in (name, *ends))
    return f"{value} ({low} – {high})"


def _range(low: Any, high: Any) -> str:
    return f"{low:.2g} – {high:.2g}" if _known(low) and _known(high) else ""


def _price(value: Any, currency: str) -> str:
    return f"{value:.3g} {currency}".strip() if _known(value) else ""
