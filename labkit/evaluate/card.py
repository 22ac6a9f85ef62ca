"""Model cards: what a run is for, what it was made of, how good it is and for whom, what it costs and its limits."""

from __future__ import annotations

import os
import statistics
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
from labkit.evaluate.evaluate import EvaluationReport
from labkit.evaluate.fairness import RATES, FairnessReport
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.run_report import evaluate_run, folder_of, rows_of
from labkit.evaluate.scores import Scores
from labkit.hub.card import Score, front_matter
from labkit.hub.samples import SAMPLES
from labkit.i18n import _
from labkit.inference.export import ways_to_open
from labkit.inference.registry import pipeline_of
from labkit.models import models
from labkit.runs.handle import RunHandle
from labkit.tasks import tasks

#: Watts of one busy core, at least and at most, for runs whose energy was not measured.
WATTS = (2.0, 20.0)
#: Answers whose time is measured, after one that is not; classes, groups and notes that are listed.
TIMED, LISTED = 20, 30
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
    ("pretrain", ""): "fill-mask",
    ("qa", ""): "question-answering",
    ("seq2seq", ""): "translation",
    ("embed", ""): "sentence-similarity",
}
#: What of the environment of a run is listed.
_SHOWN = ("python", "labkit", "jax", "flax")
#: Scores that the metadata have, as the hub names them.
_METRICS = {"f1": "f1", "accuracy": "accuracy", "r2": "r_squared", "perplexity": "perplexity"}
NOT_STATED = "Not stated."


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
) -> ModelCard:
    """The model card of a run.

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

    Raises:
        RunError: there is no model yet.
        ConfigError: an unknown licence; ``groups`` for a model that does not classify.
        DataError: there is no such column or split.
    """
    folder, rows = folder_of(run), rows_of(run)
    report = evaluate_run(run, split)
    by_group = None
    if groups:
        if not isinstance(report, ClassificationReport):
            raise ConfigError(_("groups: run {run!r} is not a single-label classifier."), run=run.name)
        by_group = report.by_group(list(groups), positive)
    head = _metadata(run, rows, report, split, licence)
    sections: list[tuple[str, Iterator[str]]] = [
        (
            "Intended use",
            iter([intended_use or NOT_STATED, f"Not for: {out_of_scope}" if out_of_scope else ""]),
        ),
        ("Model", _model(run, folder)),
        ("Data", _data(rows)),
        ("Training", _training(run)),
        ("Evaluation", _evaluation(report, split)),
        ("Groups", _groups(by_group)),
        ("Privacy", _privacy(run, rows)),
        ("Size, speed and energy", _costs(run, folder, rows, split, measure)),
        ("Limits", _limits(run, rows, report, limits)),
        ("How to use", (way.replace("## ", "### ", 1) for way in ways_to_open(run.experiment, folder))),
    ]
    body = [f"# {_line(run.name) or 'Model'}"]
    for title, lines in sections:
        body += [f"## {title}", *filter(None, lines)]
    return ModelCard(head + "\n" + "\n\n".join(body) + "\n")


def _metadata(run: RunHandle, rows: Rows, report: EvaluationReport | Scores, split: str, licence: str) -> str:
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


def _model(run: RunHandle, folder: Path) -> Iterator[str]:
    experiment, summary = run.experiment, run.info.summary
    yield _list(
        {
            "Architecture": models.name_of(experiment.model),
            "Task": tasks.name_of(experiment.task),
            "Parameters": f"{summary['parameters']:,}" if "parameters" in summary else "",
            "Trained parameters": f"{summary['trainable']:,}" if "trainable" in summary else "",
            "Precision": str(summary.get("precision", "")),
            "Classes": ", ".join(f"{_code(name)}" for name in list(summary.get("classes", ()))[:LISTED]),
        }
    )
    weights = experiment.model.weights
    if not weights:
        yield "The weights were initialised at random."
    elif (sample := SAMPLES.get(weights)) is not None:
        yield _list(
            {
                "Pretrained weights": f"{weights}: {sample.origin}",
                "Licence of the weights": sample.licence,
                "SHA-256 of the weights": next(
                    (
                        member.sha256
                        for name, member in sample.members.items()
                        if name.endswith(".safetensors")
                    ),
                    "",
                ),
            }
        )
    else:
        yield f"Pretrained weights: {_place(weights)}. Their licence is unknown to labkit."


def _data(rows: Rows) -> Iterator[str]:
    source = dict(rows.source)
    steps = source.pop("steps", [])
    name = source.pop("source", "")
    sample = SAMPLES.get(name)
    counts = rows.counts()
    yield _list(
        {
            "Source": _source(rows),
            "Arguments of `labkit.load`": ", ".join(f"{key} = {value!r}" for key, value in source.items()),
            "Licence": sample.licence if sample is not None else NOT_STATED,
            "Origin": sample.origin if sample is not None else "",
            "SHA-256 of the rows": rows.fingerprint,
            "Rows": ", ".join(f"{split} {count:,}" for split, count in counts.items()),
        }
    )
    if rows.schema.classes and rows.schema.problem_type == "class":
        lines = [
            [_line(label), *(f"{rows.spec.counts[split].get(label, 0):,}" for split in counts)]
            for label in rows.schema.classes[:LISTED]
        ]
        yield _table(["class", *counts], lines)
    if steps:
        yield "Prepared by: " + "; ".join(f"`{step['do']}`" for step in steps) + "."
    corrections = [step for step in steps if step["do"] == "correct_labels"]
    if corrections:
        changed = sum(len(step.get("labels", ())) for step in corrections)
        confirmed = sum(len(step.get("confirmed", ())) for step in corrections)
        yield f"Labels checked by hand: {changed:,} corrected, {confirmed:,} confirmed."
    notes = [
        f"{action}: {_line(str(reason))} {count:,}"
        for action, reasons in rows.report.counts().items()
        for reason, count in reasons.items()
    ]
    if notes:
        yield _points(notes[:LISTED])
    found = leakage(rows)
    leaks = [f"{part.leaked:,} of {part.rows:,} rows of {part.split}" for part in found.splits if part.leaked]
    yield "Rows that also occur in train: " + ("; ".join(leaks) if leaks else "none") + "."
    if rows.schema.modality == "text":
        personal = {kind: len(places) for kind, places in row_numbers(rows).items() if places}
        listed = ", ".join(f"{kind} in {count:,} rows" for kind, count in personal.items())
        yield f"Personal data found by form and check digits: {listed or 'none'}. Names are not searched for."


def _training(run: RunHandle) -> Iterator[str]:
    info, train = run.info, run.experiment.train
    yield _list(
        {
            "Steps": f"{info.step:,}, {info.epoch} epochs",
            "Batch size": f"{train.batch_size}" if train.batch_size else "",
            "Optimizer": f"{train.optimizer.algorithm}, learning rate {train.optimizer.learning_rate:g}"
            if train.optimizer.learning_rate
            else train.optimizer.algorithm,
            "Seed": str(train.seed),
            "Device": f"{info.summary.get('devices', 1)} × {info.summary.get('device', '')}",
            "Software": ", ".join(f"{name} {info.environment[name]}" for name in _SHOWN if name in info.environment),
        }
    )  # fmt: skip
    yield "`labkit.toml` in this folder holds every setting; `labkit train labkit.toml` repeats the run."


def _evaluation(report: EvaluationReport | Scores, split: str) -> Iterator[str]:
    yield f"On the split {split}; in brackets 95 % bootstrap intervals over its rows."
    intervals = report.intervals
    names = [name for name in report.scores if not name.endswith(("_micro", "_weighted"))]
    lines = [
        [
            name,
            f"{report.scores[name]:.4f}",
            "{:.4f} to {:.4f}".format(*intervals[name]) if name in intervals else "",
        ]
        for name in names
    ]
    yield _table(["score", "value", "interval"], lines)
    baselines = getattr(report, "baselines", {})
    if baselines:
        metric = "f1" if "f1" in report.scores else next(iter(report.scores))
        lines = [[_line(str(name)), f"{other.scores[metric]:.4f}"] for name, other in baselines.items()]
        yield _table(["baseline", metric], [["this model", f"{report.scores[metric]:.4f}"], *lines])
    if isinstance(report, ClassificationReport) and len(report.classes) <= LISTED:
        body = [
            [_line(name), *(f"{value:.3f}" for value in rates), f"{support:,.0f}"]
            for name, (*rates, support) in zip(report.classes, report.per_class.to_numpy(), strict=True)
        ]
        yield _table(["class", "precision", "recall", "f1", "rows"], body)
    if report.warnings:
        yield _points([str(each) for each in report.warnings])


def _groups(found: FairnessReport | None) -> Iterator[str]:
    if found is None:
        yield "Scores by group were not compared."
        return
    rates = ("accuracy", *RATES)
    lines = [
        [_line(str(name)), f"{line['rows']:,.0f}", *(_range(line[rate], line[f"{rate}_low"], line[f"{rate}_high"])
         for rate in rates)]
        for name, line in list(found.table.to_dict(orient="index").items())[:LISTED]
    ]  # fmt: skip
    yield f"By {', '.join(found.columns)}; positive class {_code(found.positive)}."
    yield _table(["group", "rows", *(rate.replace("_", " ") for rate in rates)], lines)
    gaps = [[name.replace("_", " "), _range(*values)] for name, values in found.gaps.items()]
    yield _table(["gap", "value"], gaps)
    if found.warnings:
        yield _points([str(each) for each in found.warnings])


def _privacy(run: RunHandle, rows: Rows) -> Iterator[str]:
    private = run.info.summary.get("privacy")
    if isinstance(private, Mapping) and "epsilon" in private:
        spent = private.get("spent", private["epsilon"])
        yield (
            f"Trained with differential privacy (DP-SGD): ε = {_number(spent)}, δ = {_number(private.get('delta'))} "
            f"for one training {private.get('unit', 'row')}. Hyperparameters and the scores above are not covered."
        )
    else:
        yield (
            "Trained without differential privacy: whether a row was among the training data may be inferred from the "
            "model's answers."
        )
    audit = run.info.summary.get("audit")
    if isinstance(audit, Mapping) and "auroc" in audit:
        yield f"Membership inference audit: AUROC {_number(audit['auroc'])} (0.5: nothing is inferred)."


def _costs(run: RunHandle, folder: Path, rows: Rows, split: str, measure: bool) -> Iterator[str]:
    size = sum(place.stat().st_size for place in folder.rglob("*") if place.is_file())
    facts = {"Size": f"{size / 1e6:.2f} MB"}
    if measure and (times := _times(run, rows, split)):
        middle, high = (plain(1000 * value, 3) for value in times)
        facts["Time of one answer"] = (
            f"median {middle} ms, 95th percentile {high} ms ({TIMED} answers, this machine)"
        )
    info = run.info
    seconds = (info.ended or time.time()) - info.started if info.started else None
    if seconds is not None:
        facts["Duration of training"] = f"{plain(seconds, 3)} s, pauses included"
    energy = info.summary.get("energy")
    if isinstance(energy, Mapping) and {"low", "high"} <= set(energy):
        facts["Energy of training"] = (
            f"{_number(energy['low'])} to {_number(energy['high'])} Wh ({energy.get('source', 'measured')})"
        )
    elif seconds is not None and info.summary.get("device") == "cpu":
        cores = _cores(info.environment)
        low, high = (
            plain(seconds * watts * count / 3600, 2) for watts, count in zip(WATTS, (1, cores), strict=True)
        )
        facts["Energy of training"] = (
            f"{low} to {high} Wh, not measured: duration × {WATTS[0]:g} W for one core to {WATTS[1]:g} W for each of "
            f"{cores}"
        )
    yield _list(facts)


def _cores(environment: Mapping[str, Any]) -> int:
    found = environment.get("cores", environment.get("cpu_count"))
    return found if isinstance(found, int) and found > 0 else os.cpu_count() or 1


def _times(run: RunHandle, rows: Rows, split: str) -> tuple[float, float] | None:
    """Median and 95th percentile of the seconds of one answer; None for models without labels."""
    if run.experiment.task.problem_type is None:
        return None
    predictor, part = pipeline_of(run), rows[split]
    spent = []
    for place in range(TIMED + 1):
        one = part.select([place % len(part)])
        begin = time.perf_counter()
        predictor.predict_encoded(one)
        spent.append(time.perf_counter() - begin)
    return statistics.median(spent[1:]), float(np.quantile(spent[1:], 0.95))


def _limits(run: RunHandle, rows: Rows, report: EvaluationReport | Scores, given: str) -> Iterator[str]:
    if given:
        yield given
    known = [
        "The scores hold for rows like those of the data above; other sources, times and languages may differ.",
        "The intervals state what chance in the choice of the evaluated rows does, not what another training would.",
    ]
    if isinstance(report, ClassificationReport):
        few = [
            f"{_code(str(name))} ({n:,.0f})"
            for name, n in report.per_class["support"].items()
            if 0 < n < LISTED
        ]
        if few:
            known.append(f"Classes with fewer than {LISTED} evaluated rows: {', '.join(few)}.")
        if report.unseen:
            known.append(
                f"{report.unseen:,} rows are of a class that was never trained; they are no part of the scores."
            )
    elif report_rows := rows.counts().get("test"):
        known.append(f"{report_rows:,} rows were evaluated.")
    if truncated := run.info.summary.get("truncated"):
        known.append(f"{truncated:,} training texts were longer than the model reads, and were truncated.")
    yield _points(known)


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


def _list(facts: Mapping[str, str]) -> str:
    return _points([f"**{name}**: {value}" for name, value in facts.items() if value])


def _points(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def _range(value: float, low: float, high: float) -> str:
    return "–" if value != value else f"{value:.3f} ({low:.3f} to {high:.3f})"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "unknown"
