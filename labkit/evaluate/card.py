"""Model cards: what a run is for, what it was made of, how good it is and for whom, what it costs and its limits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from labkit.core.errors import ConfigError
from labkit.core.text import one_line, visible
from labkit.core.units import plain
from labkit.data.prepare.pii import row_numbers
from labkit.data.prepare.split import leakage
from labkit.data.rows import Rows
from labkit.evaluate.decision import amount
from labkit.evaluate.evaluate import EvaluationReport
from labkit.evaluate.fairness import RATES, FairnessReport
from labkit.evaluate.forecast import ForecastReport
from labkit.evaluate.recommend import RecommendReport
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.run_report import TIMED, evaluate_run, folder_of, latency_of, predictor_of, rows_of
from labkit.evaluate.scores import Scores
from labkit.evaluate.segmentation import SegmentationReport
from labkit.hub.card import Score, front_matter
from labkit.hub.samples import SAMPLES
from labkit.i18n import _, joined, translate
from labkit.i18n.catalogue import LANGUAGES
from labkit.i18n.labels import split_name
from labkit.i18n.message import pgettext
from labkit.inference.export import ways_to_open
from labkit.models import models
from labkit.runs.handle import RunHandle
from labkit.tasks import tasks
from labkit.tasks.scenario import Scenario

#: Classes, groups and notes that are listed.
LISTED = 30
#: (task, modality) → task of the hub; a modality "" stands for all.
PIPELINES = {
    ("classify", "text"): "text-classification",
    ("distill", "text"): "text-classification",
    ("distill", "image"): "image-classification",
    ("distill", "audio"): "audio-classification",
    ("distill", "features"): "tabular-classification",
    ("multilabel", "text"): "text-classification",
    ("regress", "text"): "text-classification",
    ("classify", "image"): "image-classification",
    ("multilabel", "image"): "image-classification",
    ("classify", "audio"): "audio-classification",
    ("multilabel", "audio"): "audio-classification",
    ("classify", "features"): "tabular-classification",
    ("multilabel", "features"): "tabular-classification",
    ("regress", "features"): "tabular-regression",
    ("lm", ""): "text-generation",
    ("instruct", ""): "text-generation",
    ("pretrain", ""): "fill-mask",
    ("qa", ""): "question-answering",
    ("tag", ""): "token-classification",
    ("seq2seq", ""): "translation",
    ("embed", ""): "sentence-similarity",
    ("segment", ""): "image-segmentation",
    ("generate-images", ""): "unconditional-image-generation",
    ("asr", ""): "automatic-speech-recognition",
    ("forecast", ""): "time-series-forecasting",
    ("recommend", ""): "other",  # the hub has no task of recommenders
}
_Report = EvaluationReport | ForecastReport | RecommendReport | SegmentationReport | Scores
#: What of the environment of a run is listed.
_SHOWN = ("python", "labkit", "jax", "flax")
#: Scores that the metadata have, as the hub names them.
_METRICS = {
    "f1": "f1", "accuracy": "accuracy", "r2": "r_squared", "perplexity": "perplexity", "wer": "wer", "cer": "cer",
}  # fmt: skip
NOT_STATED = _("Not stated.")
#: What was done with rows, as the data section says it.
ACTIONS_SHOWN = {"refused": _("refused"), "repaired": _("repaired"), "counted": _("counted")}


@dataclass(frozen=True)
class ModelCard:
    """A model card: ``text`` is its Markdown, with the metadata of the Hugging Face hub at its head."""

    text: str

    def save(self, path: str | Path) -> Path:
        """Write the card; into a folder as README.md."""
        path = Path(path)
        path = path / "README.md" if path.is_dir() else path
        path.write_text(self.text, encoding="utf-8")
        return path

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return self.text.partition("\n---\n")[2]


def model_card(
    run: RunHandle,
    *,
    intended_use: str = "",
    out_of_scope: str = "",
    limits: str = "",
    groups: Sequence[str] = (),
    positive: str | None = None,
    licence: str = "",
    split: str = "test",
    measure: bool = True,
    scenario: Scenario | None = None,
    language: str = "en",
) -> ModelCard:
    """The model card of a run; a scenario heads it.

    Args:
        run: with a trained model.
        intended_use: which decision it serves, and who uses it.
        out_of_scope: what it must not be used for.
        limits: what else is known to go wrong; the card names some limits itself.
        groups: columns of the rows by which scores are compared (:mod:`labkit.evaluate.fairness`).
        positive: class that counts as positive in that comparison.
        licence: of the model, as the hub writes it ("apache-2.0"); weights and data may oblige to one.
        split: the rows of the scores.
        measure: measure the time of an answer on this machine.
        scenario: what the model is for, instead of that of the run.
        language: "en" or "zh".

    Raises:
        RunError: there is no model yet.
        ConfigError: an unknown licence; ``groups`` for a model that does not classify.
        DataError: there is no such column or split.
    """
    folder, rows = folder_of(run), rows_of(run)
    report = evaluate_run(run, split, scenario=scenario)
    by_group = None
    if groups:
        if not isinstance(report, ClassificationReport):
            raise ConfigError(_("groups: run {run!r} is not a single-label classifier."), run=run.name)
        by_group = report.by_group(list(groups), positive)
    head = _metadata(run, rows, report, split, licence)
    write = _Writer(run, rows, report, split, _checked(language))
    sections: list[tuple[str, Iterator[str]]] = [
        (_("Intended use"), write.intended(intended_use, out_of_scope)),
        (_("Model"), write.model()),
        (_("Data"), write.data()),
        (_("Training"), write.training()),
        (_("Evaluation"), write.evaluation()),
        (_("Groups"), write.groups(by_group)),
        (_("Privacy"), write.privacy()),
        (_("Size, speed and energy"), write.costs(measure)),
        (_("Limits"), write.limits(limits)),
        (_("How to use"), (way.replace("## ", "### ", 1) for way in ways_to_open(run.experiment, folder))),
    ]
    body = [f"# {_line(run.name) or write.t(_('Model'))}"]
    for title, lines in sections:
        body += [f"## {write.t(title)}", *filter(None, lines)]
    return ModelCard(head + "\n" + "\n\n".join(body) + "\n")


def _metadata(
    run: RunHandle,
    rows: Rows,
    report: _Report,
    split: str,
    licence: str,
) -> str:
    experiment = run.experiment
    task, modality = tasks.name_of(experiment.task), rows.schema.modality
    pipeline = PIPELINES.get((task, modality), PIPELINES.get((task, ""), ""))
    weights = experiment.model.weights
    sample = SAMPLES.get(weights)
    base = weights if sample is None else sample.origin
    if sample is None and Path(weights).exists():  # a folder of this machine
        base = ""
    scores = [
        Score(_METRICS[name], float(value), _source(rows), split)
        for name, value in report.scores.items()
        if name in _METRICS and np.isfinite(value)
    ]
    language = sample.language if sample is not None and len(sample.language) == 2 else ""
    language = {"english": "en"}.get(language.lower(), language)
    return front_matter(
        run.name or "model", library="labkit", pipeline=pipeline, licence=licence, language=language, scores=scores,
        tags=["labkit", "jax", models.name_of(experiment.model), task],
        base_model=base,
    )  # fmt: skip


class _Writer:
    """Writes the sections of a card in one language."""

    def __init__(
        self,
        run: RunHandle,
        rows: Rows,
        report: _Report,
        split: str,
        language: str,
    ):
        self.run, self.rows, self.report, self.split, self.language = run, rows, report, split, language
        self.folder = folder_of(run)

    def t(self, text: str) -> str:
        """A message in the language of the card."""
        return translate(text, self.language)

    def facts(self, facts: Mapping[str, str]) -> str:
        """Facts as a list, without empty ones."""
        return _points([f"**{self.t(name)}**: {self.t(value)}" for name, value in facts.items() if value])

    def table(self, head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
        """A table of Markdown."""
        rows = [[self.t(each) for each in head], ["---"] * len(head), *lines]
        return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)

    def range(self, value: float, low: float, high: float) -> str:
        """A value with its interval."""
        if value != value:
            return "–"
        numbers = {"value": f"{value:.3f}", "low": f"{low:.3f}", "high": f"{high:.3f}"}
        return self.t(_("{value} ({low} to {high})", **numbers))

    def intended(self, intended_use: str, out_of_scope: str) -> Iterator[str]:
        """The scenario, and what the model is and is not for."""
        found = getattr(self.report, "decision", None)
        scenario = self.run.experiment.scenario if found is None else found.scenario
        decision = "" if scenario is None else _line(scenario.decision)
        yield intended_use or decision or self.t(NOT_STATED)
        if intended_use and decision:
            yield self.t(_("Decision: {decision}", decision=decision))
        for words in filter(None, (out_of_scope, "" if scenario is None else _line(scenario.must_not))):
            yield self.t(_("Not for: {uses}", uses=words))
        if scenario is None:
            return
        yield self.facts(_stated(scenario))
        if found is not None:
            yield _points([_line(self.t(each)) for each in found.sentences])

    def model(self) -> Iterator[str]:
        """Architecture and weights."""
        experiment, summary = self.run.experiment, self.run.info.summary
        classes = ", ".join(f"{_code(name)}" for name in list(summary.get("classes", ()))[:LISTED])
        yield self.facts({
            _("Architecture"): models.name_of(experiment.model),
            _("Task"): tasks.name_of(experiment.task),
            _("Parameters"): f"{summary['parameters']:,}" if "parameters" in summary else "",
            _("Trained parameters"): f"{summary['trainable']:,}" if "trainable" in summary else "",
            pgettext("setting", "Precision"): str(summary.get("precision", "")),
            _("Classes"): classes,
        })  # fmt: skip
        weights = experiment.model.weights
        if not weights:
            yield self.t(_("The weights were initialised at random."))
        elif (sample := SAMPLES.get(weights)) is not None:
            files = sample.members.items()
            hashes = (member.sha256 for name, member in files if name.endswith(".safetensors"))
            yield self.facts({
                _("Pretrained weights"): f"{weights}: {sample.origin}",
                _("Licence of the weights"): sample.licence,
                _("SHA-256 of the weights"): next(hashes, ""),
            })  # fmt: skip
        else:
            yield self.t(
                _(
                    "Pretrained weights: {weights}. Their licence is unknown to labkit.",
                    weights=_place(weights),
                )
            )

    def data(self) -> Iterator[str]:
        """Source, hash, licence and preparation of the rows, and what was found in them."""
        rows = self.rows
        source = dict(rows.source)
        steps = source.pop("steps", [])
        sample = SAMPLES.get(source.pop("source", ""))
        counts = rows.counts()
        yield self.facts({
            _("Source"): _source(rows),
            _("Arguments of `labkit.load`"): ", ".join(f"{key} = {value!r}" for key, value in source.items()),
            _("Licence"): sample.licence if sample is not None else NOT_STATED,
            _("Origin"): sample.origin if sample is not None else "",
            _("SHA-256 of the rows"): rows.fingerprint,
            _("Rows"): ", ".join(f"{self.t(split_name(split))} {count:,}" for split, count in counts.items()),
        })  # fmt: skip
        if rows.schema.classes and rows.schema.problem_type == "class":
            lines = [
                [_line(label), *(f"{rows.spec.counts[split].get(label, 0):,}" for split in counts)]
                for label in rows.schema.classes[:LISTED]
            ]
            yield self.table([_("class"), *map(split_name, counts)], lines)
        if steps:
            done = "; ".join(f"`{step['do']}`" for step in steps)
            yield self.t(_("Prepared by: {steps}.", steps=done))
        corrections = [step for step in steps if step["do"] == "correct_labels"]
        if corrections:
            changed = sum(len(step.get("labels", ())) for step in corrections)
            confirmed = sum(len(step.get("confirmed", ())) for step in corrections)
            yield self.t(
                _("Labels checked by hand: {changed:,} corrected, {confirmed:,} confirmed.", changed=changed,
                  confirmed=confirmed)
            )  # fmt: skip
        notes = [
            f"{self.t(ACTIONS_SHOWN[action])}: {_line(self.t(reason))} {count:,}"
            for action, reasons in rows.report.counts().items()
            for reason, count in reasons.items()
        ]
        if notes:
            yield _points(notes[:LISTED])
        leaks = [
            _("{leaked:,} of {rows:,} rows of {split}", leaked=part.leaked, rows=part.rows,
              split=split_name(part.split))
            for part in leakage(rows).splits if part.leaked
        ]  # fmt: skip
        yield self.t(_("Rows that also occur in train: {leaks}.", leaks=joined("; ", leaks) or _("none")))
        if rows.schema.modality == "text":
            personal = [
                _("{kind} in {count:,} rows", kind=kind, count=len(places))
                for kind, places in row_numbers(rows).items() if places
            ]  # fmt: skip
            yield self.t(
                _("Personal data found by form and check digits: {found}. Names are not searched for.",
                  found=joined(", ", personal) or _("none"))
            )  # fmt: skip

    def training(self) -> Iterator[str]:
        """Settings of the training and its environment."""
        info, train = self.run.info, self.run.experiment.train
        optimizer, rate = train.optimizer.algorithm, train.optimizer.learning_rate
        yield self.facts({
            _("Steps"): _("{steps:,}, {epochs} epochs", steps=info.step, epochs=info.epoch),
            _("Batch size"): f"{train.batch_size}" if train.batch_size else "",
            _("Optimizer"): optimizer if not rate else _("{optimizer}, learning rate {rate:g}", optimizer=optimizer,
                                                         rate=rate),
            _("Seed"): str(train.seed),
            _("Device"): f"{info.summary.get('devices', 1)} × {info.summary.get('device', '')}",
            _("Software"): ", ".join(f"{name} {info.environment[name]}" for name in _SHOWN if name in info.environment),
        })  # fmt: skip
        yield self.t(
            _("`labkit.toml` in this folder holds every setting; `labkit train labkit.toml` repeats the run.")
        )

    def evaluation(self) -> Iterator[str]:
        """Scores with intervals, baselines and classes."""
        report = self.report
        split = split_name(self.split)
        if isinstance(report, ForecastReport):
            yield self.t(
                _(
                    "On the split {split}; in brackets 95 % bootstrap intervals over blocks of its forecasts.",
                    split=split,
                )
            )
        else:
            yield self.t(
                _("On the split {split}; in brackets 95 % bootstrap intervals over its rows.", split=split)
            )
        if report.verdict:
            yield self.t(report.verdict)
        intervals = report.intervals
        names = [name for name in report.scores if not name.endswith(("_micro", "_weighted"))]
        lines = []
        for name in names:
            edges = ""
            if name in intervals:
                low, high = (f"{edge:.4f}" for edge in intervals[name])
                edges = self.t(_("{low} to {high}", low=low, high=high))
            lines.append([name, f"{report.scores[name]:.4f}", edges])
        yield self.table([_("score"), _("value"), _("interval")], lines)
        baselines = {} if isinstance(report, Scores) else report.baselines
        if baselines:
            metric = "f1" if "f1" in report.scores else next(iter(report.scores))
            lines = [
                [_line(self.t(name)), f"{other.scores[metric]:.4f}"] for name, other in baselines.items()
            ]
            own = [self.t(_("this model")), f"{report.scores[metric]:.4f}"]
            yield self.table([_("baseline"), metric], [own, *lines])
        if isinstance(report, ClassificationReport) and len(report.classes) <= LISTED:
            body = [
                [_line(name), *(f"{value:.3f}" for value in rates), f"{support:,.0f}"]
                for name, (*rates, support) in zip(report.classes, report.per_class.to_numpy(), strict=True)
            ]
            yield self.table([_("class"), "precision", "recall", "f1", _("rows")], body)
        if report.warnings:
            yield _points([self.t(each) for each in report.warnings])

    def groups(self, found: FairnessReport | None) -> Iterator[str]:
        """Rates by group, and gaps."""
        if found is None:
            yield self.t(_("Scores by group were not compared."))
            return
        rates = ("accuracy", *RATES)
        lines = [
            [_line(str(name)), f"{line['rows']:,.0f}",
             *(self.range(line[rate], line[f"{rate}_low"], line[f"{rate}_high"]) for rate in rates)]
            for name, line in list(found.table.to_dict(orient="index").items())[:LISTED]
        ]  # fmt: skip
        yield self.t(
            _("By {columns}; positive class {positive}.", columns=", ".join(found.columns),
              positive=_code(found.positive))
        )  # fmt: skip
        yield self.table([_("group"), _("rows"), *(rate.replace("_", " ") for rate in rates)], lines)
        gaps = [[name.replace("_", " "), self.range(*values)] for name, values in found.gaps.items()]
        yield self.table([_("gap"), _("value")], gaps)
        if found.warnings:
            yield _points([self.t(each) for each in found.warnings])

    def privacy(self) -> Iterator[str]:
        """Differential privacy, and the audit by membership inference."""
        private = self.run.info.summary.get("privacy")
        if isinstance(private, Mapping) and "epsilon" in private:
            spent, delta = private.get("spent", private["epsilon"]), private.get("delta")
            yield self.t(_(
                "Trained with differential privacy (DP-SGD): ε = {epsilon}, δ = {delta} for one training {unit}. "
                "Hyperparameters and the scores above are not covered.",
                epsilon=_number(spent), delta=_number(delta), unit=private.get("unit", "row"),
            ))  # fmt: skip
        else:
            yield self.t(_(
                "Trained without differential privacy: whether a row was among the training data may be inferred from "
                "the model's answers."
            ))  # fmt: skip
        audit = self.run.info.summary.get("audit")
        if isinstance(audit, Mapping) and "auroc" in audit:
            known = {name: _number(audit.get(name)) for name in ("auroc", "auroc_low", "auroc_high", "tpr")}
            yield self.t(_(
                "Membership inference audit: AUROC {auroc} ({auroc_low} to {auroc_high}; 0.5: nothing is inferred), "
                "{tpr} of the training rows found at a false positive rate of 0.01.", **known,
            ))  # fmt: skip

    def costs(self, measure: bool) -> Iterator[str]:
        """Size, time of an answer, and energy."""
        size = sum(place.stat().st_size for place in self.folder.rglob("*") if place.is_file())
        facts: dict[str, str] = {_("Size"): f"{size / 1e6:.2f} MB"}
        if measure and self.run.experiment.task.problem_type is not None:
            times = latency_of(predictor_of(self.run), self.rows, self.split)
            middle, high = (plain(1000 * value, 3) for value in times)
            facts[_("Time of one answer")] = _(
                "median {middle} ms, 95th percentile {high} ms ({count} answers, this machine)",
                middle=middle, high=high, count=TIMED,
            )  # fmt: skip
        info = self.run.info
        if info.started:
            seconds = plain((info.ended or time.time()) - info.started, 3)
            facts[_("Duration of training")] = _("{seconds} s, pauses included", seconds=seconds)
        energy = info.summary.get("energy")
        if isinstance(energy, Mapping) and {"low", "high", "source"} <= set(energy):
            facts[_("Energy of training")] = _(
                "{low} to {high} Wh, by {source}", low=_number(energy["low"]), high=_number(energy["high"]),
                source=energy["source"],
            )  # fmt: skip
        yield self.facts(facts)

    def limits(self, given: str) -> Iterator[str]:
        """Known failures and limits."""
        if given:
            yield given
        report = self.report
        known = [
            _("The scores hold for rows like those of the data above; other sources, times and languages may differ."),
            _("The intervals state what chance in the choice of the evaluated rows does, not what another training "
              "would."),
        ]  # fmt: skip
        if not isinstance(report, Scores) and report.decision is not None:
            known.append(
                _("The expected cost assumes that classes are as frequent in use as in the evaluated rows.")
            )
        if isinstance(report, ClassificationReport):
            few = [
                f"{_code(str(name))} ({n:,.0f})"
                for name, n in report.per_class["support"].items() if 0 < n < LISTED
            ]  # fmt: skip
            if few:
                known.append(_("Classes with fewer than {count} evaluated rows: {names}.", count=LISTED,
                               names=", ".join(few)))  # fmt: skip
            if report.unseen:
                known.append(_("{count:,} rows are of a class that was never trained; they are no part of the scores.",
                               count=report.unseen))  # fmt: skip
        elif rows := self.rows.counts().get("test"):
            known.append(_("{rows:,} rows were evaluated.", rows=rows))
        if truncated := self.run.info.summary.get("truncated"):
            known.append(_("{count:,} training texts were longer than the model reads, and were truncated.",
                           count=truncated))  # fmt: skip
        yield _points([self.t(each) for each in known])


def _stated(scenario: Scenario) -> dict[str, str]:
    """The costs and limits of a scenario."""
    cost = lambda value: amount(value, scenario)  # noqa: E731
    facts: dict[str, str] = {}
    usual = Scenario()
    if scenario.positive:
        facts[_("Positive class")] = _code(scenario.positive)
    if scenario.positive or (scenario.false_positive, scenario.false_negative) != (1.0, 1.0):
        facts[_("Cost of a false positive")] = cost(scenario.false_positive)
        facts[_("Cost of a false negative")] = cost(scenario.false_negative)
    for truth, costs in scenario.mistakes.items():
        for answer, value in costs.items():
            facts[_("Cost of {truth} predicted as {answer}", truth=_code(truth), answer=_code(answer))] = (
                cost(value)
            )
    if scenario.mistakes or scenario.mistake != usual.mistake:
        facts[_("Cost of any other mistake")] = cost(scenario.mistake)
    if (scenario.too_high, scenario.too_low) != (usual.too_high, usual.too_low):
        facts[_("Cost of a unit too high")] = cost(scenario.too_high)
        facts[_("Cost of a unit too low")] = cost(scenario.too_low)
    if scenario.volume:
        facts[_("Decisions a day")] = f"{scenario.volume:,}"
    if scenario.latency is not None:
        facts[_("Longest time of an answer")] = f"{scenario.latency:g} ms"
    if scenario.target is not None:
        facts[_("Target cost a day")] = cost(scenario.target)
    return facts


def _checked(language: str) -> str:
    """A language of labkit. Raises :class:`ConfigError` for another."""
    if language not in LANGUAGES:
        raise ConfigError(
            _("language {language!r} is not supported. Available: {known}."), language=language,
            known=", ".join(LANGUAGES),
        )  # fmt: skip
    return language


def _source(rows: Rows) -> str:
    """What the rows were loaded from, without folders, users and tokens."""
    source = str(rows.source.get("source", ""))
    return _place(source) if source else "rows made in Python"


def _place(source: str) -> str:
    """A sample, a name on the hub, the name of a file or an address without its user and query."""
    if source in SAMPLES:
        return source
    address = urlsplit(source)
    if address.scheme in ("http", "https"):
        return _line(f"{address.hostname}{address.path}")
    path = Path(source)
    return _line(path.name if path.is_absolute() or path.exists() else source)


def _code(text: str) -> str:
    """Text from outside as a code span."""
    return f"`{one_line(visible(text), 200).replace('`', chr(39)).replace('|', '/')}`"


def _line(text: str) -> str:
    """Text from outside as a line of Markdown that no table, code span or HTML can break out of."""
    escaped = one_line(visible(text), 200).replace("`", "'").replace("|", "/")
    return escaped.replace("<", "&lt;").replace(">", "&gt;")


def _points(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "unknown"
