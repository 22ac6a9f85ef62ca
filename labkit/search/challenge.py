"""Champion against challenger: a model retrained with new rows, compared with the old one on new rows that neither has
seen."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labkit.core import html
from labkit.core.config import checked_seed, dumps
from labkit.core.errors import ConfigError, DataError, RunError
from labkit.data.align import aligned, appended, copies_of_known, core_columns, note_of_copies, renumbered
from labkit.data.io.load import load
from labkit.data.report import Note
from labkit.data.rows import Rows
from labkit.evaluate.decision import amount, choose_rule, per
from labkit.evaluate.evaluate import EvaluationReport, make_report
from labkit.evaluate.intervals import of_means
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.run_report import predictor_of, rows_of
from labkit.i18n import _
from labkit.i18n.labels import score_name
from labkit.i18n.message import Message
from labkit.runs.handle import RunHandle, model_of
from labkit.tasks.scenario import Scenario
from labkit.train.experiment import DataConfig, own_experiment, ready

if TYPE_CHECKING:
    from labkit.data.io.load import RowSource

#: Preparation of the champion's rows that new rows need too.
AGAIN = ("clean", "relabel")
#: Untouched rows below which a comparison is uncertain.
FEW = 30


@dataclass(frozen=True, eq=False)
class Challenge:
    """Two models on the same new rows, which neither was trained on.

    Attributes:
        champion, challenger: the runs.
        metric: what they are compared by: "cost" of the decisions of a scenario, or a score.
        table: a line for the untouched ``new`` rows, and one for the ``old`` test rows: ``rows``, the values of both,
            and the ``gain`` of the challenger (positive where it is better) with its paired 95 % interval.
        margin: the gain that is required.
        leaked: new rows that the champion's rows have already; they were left out.
        reports: ("champion" or "challenger", "new" or "old") → report.
        scenario: what mistakes cost, if the comparison is by cost.
        notes: what was left out of the new rows.
    """

    champion: Any
    challenger: Any
    metric: str
    table: pd.DataFrame
    margin: float
    leaked: int
    reports: Mapping[tuple[str, str], EvaluationReport] = field(default_factory=dict)
    scenario: Scenario | None = None
    notes: tuple[str, ...] = ()

    @property
    def replace(self) -> bool:
        """Whether the challenger replaces the champion: the whole interval of its gain on the untouched new rows is
        above the margin."""
        return bool(self.table.loc["new", "gain_low"] > self.margin)

    @property
    def verdict(self) -> str:
        """ "replace", "keep" (the challenger is not better), or "undecided"."""
        if self.replace:
            return "replace"
        return "keep" if self.table.loc["new", "gain_high"] <= self.margin else "undecided"

    @property
    def sentences(self) -> list[Message]:
        """The verdict and what it rests on, a sentence each."""
        line = self.table.loc["new"]
        shown = {
            name: self._shown(line[name])
            for name in ("champion", "challenger", "gain", "gain_low", "gain_high")
        }
        told = [_(
            "On {rows:,} new rows that neither model was trained on, {metric} is {challenger} for the challenger and "
            "{champion} for the champion: a gain of {gain} ({gain_low} to {gain_high}).",
            rows=int(line["rows"]), metric=self._named, **shown,
        )]  # fmt: skip
        rule = _("Rule: replace it if the whole interval (95 %) of the gain is above {margin}.",
                 margin=self._shown(self.margin))  # fmt: skip
        if self.verdict == "replace":
            told.insert(0, _("Replace the champion by the challenger."))
        elif self.verdict == "keep":
            told.insert(0, _("Keep the champion: the challenger is not better."))
        else:
            told.insert(0, _("Keep the champion for now: the difference is not certain."))
            if (rows := self.rows_needed) is not None:
                told.append(_("About {rows:,} untouched new rows would make such a gain certain.", rows=rows))
        told.append(rule)
        if "old" in self.table.index:
            old = self.table.loc["old"]
            shown = {name: self._shown(old[name]) for name in ("gain", "gain_low", "gain_high")}
            if old["gain_high"] < 0:
                told.append(_("On the {rows:,} old test rows the challenger is worse: {gain} ({gain_low} to "
                              "{gain_high}).", rows=int(old["rows"]), **shown))  # fmt: skip
            else:
                told.append(_("On the {rows:,} old test rows the gain is {gain} ({gain_low} to {gain_high}).",
                              rows=int(old["rows"]), **shown))  # fmt: skip
        if self.leaked:
            told.append(_("{count:,} new rows were left out: the champion's rows have them already.",
                          count=self.leaked))  # fmt: skip
        if line["rows"] < FEW:
            told.append(
                _(
                    "Only {rows:,} untouched new rows: the interval is hardly reliable.",
                    rows=int(line["rows"]),
                )
            )
        return told

    @property
    def rows_needed(self) -> int | None:
        """Untouched new rows at which the interval of the same gain would be above the margin; None where the gain is
        not above it."""
        line = self.table.loc["new"]
        over, half = line["gain"] - self.margin, line["gain"] - line["gain_low"]
        return None if not over > 0 else int(np.ceil(line["rows"] * (half / over) ** 2))

    @property
    def _named(self) -> str:
        if self.scenario is not None:
            return _("the expected cost {per}", per=per(self.scenario))
        return score_name(self.metric)

    def _shown(self, value: float) -> str:
        return f"{value:.4g}" if self.scenario is None else amount(float(value), self.scenario)

    def __repr__(self) -> str:
        table = self.table.to_string(float_format="{:.4g}".format, na_rep="")
        return "\n".join([*map(str, self.sentences), *self.notes, "", table])

    def _repr_html_(self) -> str:
        table = html.Html(self.table.to_html(float_format="{:.4g}".format, na_rep=""))
        return html.page("", *map(str, self.sentences), *self.notes, table)


def challenge(
    run: RunHandle,
    rows: RowSource,
    challenger: RunHandle | None = None,
    *,
    test: float = 0.5,
    margin: float = 0.0,
    scenario: Scenario | None = None,
    seed: int = 0,
    name: str = "",
    warm_start: bool = False,
    changes: Mapping[str, Any] | None = None,
    watch: Callable[[Any], object] = RunHandle.wait,
) -> Challenge:
    """Compare a trained model with one that also knows new rows, on new rows that neither was trained on.

    New rows are read and cleaned as the training rows were. Those that the champion's rows have already are left out
    (leakage), as are rows of unknown classes. A share ``test`` of the others stays untouched; the rest joins the
    training and validation rows of the challenger, which otherwise has the settings of the champion.

    Args:
        run: the champion.
        rows: new rows with labels: what :func:`labkit.load` returns or takes.
        challenger: a run that was trained already; its own training rows are looked for among the new ones too. None:
            train one.
        test: share of the new rows that both models are compared on; for a given challenger all of them are.
        margin: gain that the challenger must have, in the metric or in cost.
        scenario: what mistakes cost (:class:`labkit.Scenario`); default: that of the champion. Models are then compared
            by expected cost, each with the threshold of the least cost on its own validation rows.
        seed: of the split of the new rows.
        name: of the challenger's run.
        warm_start: training of the challenger begins from the weights of the champion, with its tokenizer or scales.
            By default it begins as that of the champion did: from pretrained weights, or random ones.
        changes: settings of the challenger, such as ``{"train.epochs": 5}``.
        watch: called with the run of the challenger once it has started; it returns when the run is over.

    Raises:
        ConfigError: a setting is invalid, the model does not predict a class, labels or a number, or ``warm_start``
            is combined with differential privacy.
        DataError: the new rows do not fit the model, have no labels, or are all known already.
    """
    if not 0 < test < 1:
        raise ConfigError(_("test = {test!r} must be a share between 0 and 1."), test=test)
    if challenger is not None and (changes or warm_start):
        raise ConfigError(
            _("changes and warm_start are for a challenger that is trained; leave them out for a given run.")
        )
    changes = dict(changes or {})
    if warm_start:
        changes["train.warm_start"] = str(model_of(run.info)[0])
    own, champion, seed = rows_of(run), predictor_of(run), checked_seed(seed)
    scenario = run.experiment.scenario if scenario is None else Scenario.given(scenario)
    if scenario is not None:
        scenario.check_for(champion.problem_type, champion.classes)
    new, report = aligned(_loaded(rows, own), own)
    known = list(own.splits.values())
    if challenger is not None:
        if predictor_of(challenger).classes != champion.classes:
            raise DataError(
                _("{name!r} predicts {classes}; the rows have {other_classes}."), name=challenger.name,
                classes=", ".join(predictor_of(challenger).classes), other_classes=", ".join(champion.classes),
            )  # fmt: skip
        known += list(rows_of(challenger).splits.values())
    copies = copies_of_known(new, known)
    fresh = new.select(np.flatnonzero(~copies))
    if not len(fresh):
        raise DataError(_("all {count:,} new rows are among the earlier rows already."), count=len(new))
    notes: list[Note] = [*report.notes, *([note_of_copies(np.flatnonzero(copies))] if copies.any() else [])]
    first = 1 + max(int(np.max(part["row"], initial=-1)) for part in own.splits.values())
    core = core_columns(own)
    parts = {split: part.select_columns(core) for split, part in own.splits.items()}
    untouched = fresh
    if challenger is None:
        cut = own.with_splits({"train": fresh.select_columns(core)}).split(
            validation=max(1, round(0.1 * len(fresh))), test=test, seed=seed
        )
        cut = {split: renumbered(part, first) for split, part in cut.splits.items()}
        untouched = cut["test"]
        made = own.with_splits(
            {
                "train": appended(parts["train"], cut["train"]),
                "validation": appended(parts["validation"], cut["validation"]), "test": untouched,
            }, notes,
        )  # fmt: skip
        cleaning = [step for step in own.source.get("steps", ()) if step["do"] == "clean"]
        made = replace(made, source={"source": "", **({"steps": cleaning} if cleaning else {})})
        challenger = _trained(run, made, name or f"{run.name} challenger", changes, watch)
    lines, reports = {}, {}
    for place, part in (("new", untouched), ("old", parts.get("test"))):
        if part is not None and len(part):
            shared = own.with_splits({**parts, "test": part.select_columns(core)})
            both = {"champion": _report(run, shared), "challenger": _report(challenger, shared)}
            lines[place] = _compared(both, scenario, {"champion": run, "challenger": challenger})
            reports |= {(who, place): each for who, each in both.items()}
    metric = "cost" if scenario is not None else _main(reports["champion", "new"])
    texts = [
        f"{reason}: {count:,}" for reasons in report.counts().values() for reason, count in reasons.items()
    ]
    return Challenge(
        run, challenger, metric, pd.DataFrame.from_dict(lines, orient="index"), float(margin), int(copies.sum()),
        reports, scenario, tuple(texts),
    )  # fmt: skip


def _loaded(rows: RowSource, own: Rows) -> Rows:
    """New rows, read and prepared as those of the champion."""
    if isinstance(rows, Rows):
        given = rows
    else:
        source, names = own.source, inspect.signature(load).parameters
        options = {name: value for name, value in source.items() if name in names}
        if (
            own.schema.modality == "text"
            and source.get("source")
            and not options.keys() & {"text", "label", "number"}
        ):
            text = own.schema.text
            options |= {"text": text if len(text) > 1 else text[0]} if text else {}
            options |= {"label": own.schema.label} if own.schema.label else {}
        given = load(rows, **options)
    before = given.source.get("steps", ())
    for step in own.source.get("steps", ()):
        if step["do"] in AGAIN and step not in before:
            settings = {key: value for key, value in step.items() if key != "do"}
            if step["do"] == "relabel":
                names = settings.get("names", {})
                there = {each for each in (*names, *settings.get("drop", ())) if each in given.schema.classes}
                settings = {
                    "names": {old: new for old, new in names.items() if old in there},
                    "drop": [each for each in settings.get("drop", ()) if each in there],
                }  # fmt: skip
                if not there:
                    continue
            given = getattr(given, step["do"])(**settings)
    return given


def _trained(
    run: RunHandle, rows: Rows, name: str, changes: Mapping[str, Any], watch: Callable[[Any], object]
) -> RunHandle:
    """The challenger, trained with the settings of the champion."""
    experiment = own_experiment(dumps(run.experiment), changes)
    accept = experiment.data.accept_leakage
    rows = ready(rows, experiment.task, accept)
    made = experiment.replace(name=name, data=DataConfig.of(rows, accept), callbacks=())
    found = type(run).create(run.store, made, rows).start()
    watch(found)
    if (info := found.info).status != "finished":
        raise RunError(
            _("run {run!r} failed: {error}{cure}"), run=name, error=info.error or info.status, cure=""
        )
    return found


def _report(run: RunHandle, rows: Rows, split: str = "test") -> EvaluationReport:
    """The report of a run's model on other rows."""
    predictor = predictor_of(run)
    answers = predictor.predict_encoded(rows[split])
    return make_report(rows, split, predictor.classes, answers, predictor.experiment.task, baselines=False)


def _main(report: EvaluationReport) -> str:
    return "f1" if isinstance(report, ClassificationReport) else report.main


def _compared(
    reports: Mapping[str, EvaluationReport], scenario: Scenario | None, runs: Mapping[str, RunHandle]
) -> dict[str, float]:
    """The values of both models on the same rows, and the gain of the challenger with its paired interval."""
    ours: Any = reports["challenger"]
    rows = int(ours.counted.sum())
    if scenario is not None:
        costs = {
            who: choose_rule(scenario, _report(each, rows_of(each), "validation")).costs(reports[who])
            for who, each in runs.items()
        }  # fmt: skip
        means = {who: scenario.factor * float(each.mean()) for who, each in costs.items()}
        low, high = of_means({"gain": costs["champion"] - costs["challenger"]})["gain"]
        gain = means["champion"] - means["challenger"]
        return {"rows": rows, **means, "gain": gain, "gain_low": scenario.factor * low,
                "gain_high": scenario.factor * high}  # fmt: skip
    metric = _main(ours)
    line = ours.compare({"champion": reports["champion"]}).loc["champion"]
    name = "f1_gain" if "f1_gain" in line else "gain"
    values = {who: each.scores[metric] for who, each in reports.items()}
    return {
        "rows": rows,
        **values,
        **{f"gain{end}": float(line[f"{name}{end}"]) for end in ("", "_low", "_high")},
    }
