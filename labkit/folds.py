"""Out-of-fold probabilities of a labkit experiment: one run for each fold."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import numpy as np

from labkit.api import fit
from labkit.core.config import checked_seed
from labkit.data import memmap
from labkit.data.arrow import numbers
from labkit.data.io.load import load
from labkit.data.prepare.corrections import check_single_label
from labkit.data.rows import Rows
from labkit.evaluate.label_issues import copies_of, fold_places

if TYPE_CHECKING:
    from labkit.data.io.load import RowSource
    from labkit.train.experiment import ModelSource

#: Share of the training rows of a fold on which its model is selected.
_VALIDATION = 0.1


def out_of_fold(
    rows: RowSource, model: ModelSource = "bert", *, folds: int = 5, seed: int = 0, **options: object
) -> np.ndarray:
    """Probabilities f32 [n, c] of all rows, split after split, each by a run that was not trained on that row.

    ``lk.find_label_issues(rows, lk.out_of_fold(rows, model))`` takes them. One run is trained for each fold, in a
    temporary lab folder; exact copies are in the same fold. Unlabelled rows get the mean over all runs.

    Args:
        rows, model, **options: as for :func:`labkit.fit`.
        folds: number of runs.
        seed: of the folds, and of the training.
    """
    rows = rows if isinstance(rows, Rows) else load(rows)
    check_single_label(rows)
    whole, seed = rows.in_one_split(), checked_seed(seed)
    data = whole["train"]
    labels, copies = numbers(data, "label").astype(np.int64), copies_of(whole)
    known, unknown = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
    found = np.zeros((len(labels), len(rows.schema.classes)), np.float32)
    places = fold_places(labels[known], copies[known], folds, seed)
    for train, test in places:
        held, learnt = known[test], known[train]
        inner = fold_places(labels[learnt], copies[learnt], round(1 / _VALIDATION), seed)[0]
        parts = {"train": learnt[inner[0]], "validation": learnt[inner[1]], "test": held}
        split = whole.with_splits({name: memmap.chosen(data, part) for name, part in parts.items()})
        with tempfile.TemporaryDirectory() as folder:
            run = fit(
                split, model, folder=folder, background=False, accept_leakage=True, seed=seed, **options
            )
            found[held] = run.predictor.predict_encoded(split["test"])
            if unknown.size:
                asked = memmap.chosen(data, unknown)
                found[unknown] += run.predictor.predict_encoded(asked) / len(places)
    return found
