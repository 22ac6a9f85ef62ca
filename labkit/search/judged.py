"""Answers of finished candidates to the validation and test rows, kept in the study's folder, and their reports."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from labkit.core.cache import write_atomic
from labkit.core.errors import DataError
from labkit.data.rows import Rows
from labkit.evaluate import baselines, target_baselines
from labkit.evaluate.boosting import Maker
from labkit.evaluate.evaluate import EvaluationReport, make_report
from labkit.i18n import _
from labkit.inference.predictor import Predictor
from labkit.inference.registry import pipeline_of
from labkit.models.base import Modality
from labkit.profile.energy import EnergyMeter
from labkit.runs.handle import RunHandle, model_of
from labkit.search.costs import time_answers
from labkit.tasks import BY_PROBLEM_TYPE, tasks
from labkit.tasks.base import ProblemType, Task

#: Splits that candidates answer: chosen on the first, tested on the second.
SPLITS = ("validation", "test")
_FOLDER = "answers"


@dataclass(frozen=True)
class Judged:
    """What a candidate answers, and what that costs; ``seconds`` and ``energy`` are those of its training."""

    answers: Mapping[str, np.ndarray]
    costs: Mapping[str, float | None]
    seconds: float = 0.0
    energy: tuple[float, float, str] = field(default=(0.0, 0.0, ""))


def of_run(run: RunHandle, rows: Rows) -> Judged:
    """The answers of a run's model."""
    folder = model_of(run.info)[0]
    found = of_predictor(pipeline_of(run, Predictor), rows)
    size = sum(place.stat().st_size for place in folder.glob("*.safetensors"))
    return Judged(found.answers, {**found.costs, "bytes": size})


def of_predictor(predictor: Predictor, rows: Rows, name: str = "") -> Judged:
    """The answers of a predictor, in the order of the classes of the rows.

    Raises:
        DataError: it has other classes.
    """
    if sorted(predictor.classes) != sorted(rows.spec.classes):
        raise DataError(
            _("{name!r} predicts {classes}; the rows have {other_classes}."), name=name,
            classes=", ".join(predictor.classes), other_classes=", ".join(rows.spec.classes),
        )  # fmt: skip
    order = [list(predictor.classes).index(each) for each in rows.spec.classes]
    answers = {split: predictor.predict_encoded(rows[split])[:, order] for split in SPLITS}
    part = rows["validation"]
    if rows.spec.modality == Modality.TEXT:
        texts = part["text"]
        pairs = part["text_pair"] if "text_pair" in part.column_names else None

        def answer(place: int) -> Any:
            pair = None if pairs is None else [pairs[place]]
            return predictor.probabilities([texts[place]], pair, clean=False)
    else:

        def answer(place: int) -> Any:
            return predictor.predict_encoded(part.select([place]))

    return Judged(answers, time_answers(answer, len(part)))


def baselines_of(rows: Rows, seed: int) -> dict[str, Maker]:
    """What fits each baseline on the training rows, by name."""
    if rows.spec.problem_type == ProblemType.CLASS:
        found = baselines.makers(rows["train"], rows.spec.classes, rows.spec, seed=seed)
    else:
        found = target_baselines.makers(rows["train"], rows.spec, seed)
    return {str(name): make for name, make in found.items()}


def of_baseline(name: str, rows: Rows, seed: int) -> Judged | None:
    """The answers of a baseline; None where it has nothing to learn from."""
    make = baselines_of(rows, seed)[name]
    begin = time.monotonic()
    with EnergyMeter() as meter:
        fitted = make()
    seconds = time.monotonic() - begin
    if fitted is None:
        return None
    part = rows["validation"]
    costs = time_answers(lambda place: fitted.answer(part.select([place])), len(part))
    costs |= {"parameters": fitted.parameters, "bytes": 8 * fitted.parameters}
    answers = {split: fitted.answer(rows[split]) for split in SPLITS}
    energy = (meter.energy.low, meter.energy.high, meter.energy.source)
    return Judged(answers, costs, seconds, energy)


def report_of(rows: Rows, split: str, answers: np.ndarray, task: Task | None = None) -> EvaluationReport:
    """The report of answers on a split of a study, without baselines: these are candidates themselves."""
    task = tasks[BY_PROBLEM_TYPE[rows.spec.problem_type]]() if task is None else task
    return make_report(rows, split, rows.spec.classes, answers, task, baselines=False)


def check_answers(name: str, answers: Mapping[str, Any], rows: Rows) -> dict[str, np.ndarray]:
    """Answers of other origin, as arrays.

    Raises:
        DataError: a split is missing, or the answers do not fit its rows.
    """
    found = {}
    for split in SPLITS:
        if split not in answers:
            raise DataError(_("the answers of {name!r} lack the rows of {split!r}."), name=name, split=split)
        found[split] = np.asarray(answers[split])
        report_of(rows, split, found[split])
    return found


def _place(folder: Path, name: str) -> Path:
    return folder / _FOLDER / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.npz"


def has_answers(folder: Path, name: str) -> bool:
    """Whether the answers of a candidate are kept in the study's ``folder``."""
    return _place(folder, name).exists()


def save_answers(folder: Path, name: str, answers: Mapping[str, np.ndarray]) -> None:
    """Keep the answers of a candidate."""
    place, data = _place(folder, name), io.BytesIO()
    place.parent.mkdir(exist_ok=True)
    np.savez(data, **dict(answers))
    write_atomic(place, data.getvalue())


def load_answers(folder: Path, name: str) -> dict[str, np.ndarray]:
    """The answers of a candidate by split."""
    with np.load(_place(folder, name), allow_pickle=False) as found:
        return {split: found[split] for split in SPLITS}
