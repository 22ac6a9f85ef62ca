"""Audit of a run: membership inference against its own training rows, with reference runs and canaries."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labkit.core.config import checked_seed
from labkit.core.errors import ConfigError, DataError
from labkit.data.report import Note
from labkit.data.rows import Rows
from labkit.data.targets import targets_of
from labkit.evaluate.membership import MOST, MembershipReport, auroc, calibrated, fits
from labkit.evaluate.run_report import predictor_of, rows_of
from labkit.i18n import _
from labkit.runs.handle import RunHandle
from labkit.runs.store import Store
from labkit.tasks.base import ProblemType
from labkit.train.experiment import DataConfig

if TYPE_CHECKING:
    from datasets import Dataset

    from labkit.inference.predictor import Predictor

#: Rows that were not trained on, below which 1 % of them is less than one row.
FEW = 100


@dataclass(frozen=True, eq=False)
class Canaries:
    """Rows with wrong labels, of which a fair coin put about half into the training rows.

    Attributes:
        rows: the canaries, with the columns of the training rows.
        trained: which are in the training rows, bool [n].
    """

    rows: Dataset
    trained: np.ndarray

    def __len__(self) -> int:
        return len(self.trained)


def canaries(rows: Rows, count: int = 200, seed: int = 0) -> tuple[Rows, Canaries]:
    """Replace ``count`` training rows by canaries: each gets a random wrong label, and a fair coin decides
    whether it stays. Train on the rows, then give the canaries to ``run.audit(canaries=…)``.

    Args:
        rows: split rows with one class each.
        count: number of canaries; hundreds are needed to prove an epsilon above 1.
        seed: decides which rows, labels and sides of the coin.

    Returns:
        The rows to train on, and the canaries.

    Raises:
        DataError: the rows have no classes, or fewer labelled training rows than ``count``.
    """
    if rows.spec.problem_type != ProblemType.CLASS or len(rows.spec.classes) < 2:
        raise DataError(_("canaries need rows of one of several classes each."))
    train = rows["train"]
    labels = np.asarray(train["label"])
    known = np.flatnonzero(labels >= 0)
    if not 0 < count < len(known):
        raise DataError(
            _("canaries = {count}; the {known:,} labelled training rows allow 1 to {most:,}."),
            count=count, known=len(known), most=len(known) - 1,
        )  # fmt: skip
    random = np.random.default_rng(checked_seed(seed))
    chosen = np.sort(random.choice(known, count, replace=False))
    shift = random.integers(1, len(rows.spec.classes), count)
    trained = random.random(count) < 0.5
    labels[chosen] = (labels[chosen] + shift) % len(rows.spec.classes)
    feature = train.features["label"]
    changed = train.remove_columns("label").add_column("label", labels.astype(np.int32), feature=feature)
    changed = changed.select_columns(train.column_names)
    left_out = np.setdiff1d(np.arange(len(train)), chosen[~trained])
    note = Note(
        None, None, "counted", _("canaries"),
        _("{count:,} training rows with a wrong label, of which {kept:,} stay; seed {seed}",
          count=count, kept=int(trained.sum()), seed=seed),
    )  # fmt: skip
    made = rows.with_splits({**rows.splits, "train": changed.select(left_out)}, [note])
    made = replace(made, source={"source": ""})  # they cannot be loaded again
    return made, Canaries(changed.select(chosen), trained)


def audit_run(
    run: RunHandle,
    split: str = "test",
    *,
    references: int = 0,
    canaries: Canaries | None = None,
    seed: int = 0,
) -> MembershipReport:
    """Attack a run by membership inference, and store the result with the run for its card; see
    :meth:`labkit.api.Run.audit`."""
    if not isinstance(references, int) or isinstance(references, bool) or references < 0 or references == 1:
        raise ConfigError(
            _("references = {references!r}; it must be 0, or a number of reference runs from 2 on."),
            references=references,
        )
    rows, predictor, random = rows_of(run), predictor_of(run), np.random.default_rng(checked_seed(seed))
    if split == "train" or not len(rows.splits.get(split, ())):
        raise DataError(
            _("the audit needs rows that were not trained on; the run has {splits}."),
            splits=", ".join(name for name in rows.splits if name != "train"),
        )
    parts = [_some(rows[name], random) for name in ("train", split)]
    for name, part in zip(("train", split), parts, strict=True):
        if not len(part):
            raise DataError(_("the split {name!r} has no labelled rows."), name=name)
    scores = [_fits(predictor, part) for part in parts]
    method, plain = "loss", None
    if references:
        method, plain = f"loss against {references} reference runs", auroc(*scores)
        joined = _calibrated(run, rows, split, parts, np.concatenate(scores), references, random)
        scores = [joined[: len(parts[0])], joined[len(parts[0]) :]]
    found = run.info.summary.get("privacy") or {}
    few = _("{count:,} rows of {split} are few: a false positive rate of 0.01 is coarse below {few}.",
            count=len(parts[1]), split=split, few=FEW)  # fmt: skip
    report = MembershipReport(
        scores[0], scores[1], method, seed, found.get("spent", found.get("epsilon")), found.get("delta", 0.0),
        None if canaries is None else (_fits(predictor, canaries.rows), canaries.trained), split,
        (few,) if len(parts[1]) < FEW else (), plain,
    )  # fmt: skip
    low, high = report.intervals["auroc"]
    audit = {**report.scores, "auroc_low": low, "auroc_high": high, "split": split, "references": references}
    run.store.update(run.id, summary={"audit": audit})
    return report


def _some(part: Dataset, random: np.random.Generator) -> Dataset:
    """At most :data:`MOST` random labelled rows."""
    known = np.flatnonzero(np.asarray(part["label"]) >= 0)
    if len(known) > MOST:
        known = np.sort(random.choice(known, MOST, replace=False))
    return part.select(known)


def _fits(predictor: Predictor, part: Dataset) -> np.ndarray:
    """How well the answers fit the rows of a part."""
    answers = predictor.predict_encoded(part)
    if predictor.problem_type is ProblemType.CLASS:
        return fits(answers, np.asarray(part["label"]))
    return fits(answers, np.asarray(targets_of(part)), predictor.problem_type is ProblemType.NUMBER)


def _calibrated(
    run: RunHandle, rows: Rows, split: str, parts: list[Dataset], scores: np.ndarray, references: int,
    random: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """The scores less those of reference runs: each is trained like the run on a random half of both parts.
    Runs come in pairs of complementary halves, so that each row has a run that was not trained on it."""
    from datasets import concatenate_datasets

    pooled, found, trained = concatenate_datasets(parts), [], []
    experiment = run.experiment
    for number in range(references):
        half = ~trained[-1] if number % 2 else random.permutation(len(pooled)) < len(pooled) // 2
        made = rows.with_splits({**rows.splits, "train": pooled.select(np.flatnonzero(half))})
        plan = experiment.replace(
            data=DataConfig.of(made, accept_leakage=True), callbacks=(), name=f"reference {number + 1}",
            train=experiment.train.replace(seed=experiment.train.seed + number + 1),
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            reference = RunHandle.create(Store(Path(folder)), plan, made).start().wait()
            found.append(_fits(predictor_of(reference), pooled))
        trained.append(half)
    return calibrated(scores, np.stack(found), np.stack(trained))
