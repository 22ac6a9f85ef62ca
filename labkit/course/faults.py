"""The faults of six broken runs, which the reader of the lesson on debugging finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from labkit.data.rows import Rows

#: What may be wrong with a run, in the words of the exercise.
FAULTS = (
    "learning rate too high",
    "learning rate too low",
    "shuffled labels",
    "too few rows",
    "classes missing in training",
    "training rows among the validation rows",
)
#: Letter → the fault of its run. Find it by the curves, not here.
HIDDEN = dict(zip("ABCDEF", (FAULTS[4], FAULTS[0], FAULTS[5], FAULTS[2], FAULTS[1], FAULTS[3]), strict=True))


def plan_of(letter: str) -> tuple[Rows, dict[str, Any]]:
    """The rows of a broken run, and the settings that it is trained with."""
    from labkit.data.io.load import load

    rows = load("digits").split(validation=0.2, test=0.2, seed=0)
    make, changes = _MADE[HIDDEN[letter]]
    plan: dict[str, Any] = {
        "epochs": 8,
        "batch_size": 32,
        "learning_rate": 3e-3,
        "schedule": "constant",
        "keep": "last",
    }
    return make(rows), {**plan, **changes}


def _with_train(rows: Rows, keep: Callable[[np.ndarray], np.ndarray]) -> Rows:
    """The rows with those of the training split that ``keep`` chooses by their labels."""
    train = rows.splits["train"]
    return rows.with_splits({**rows.splits, "train": train.select(keep(np.asarray(train["label"])))})


def _shuffled(rows: Rows) -> Rows:
    train = rows.splits["train"]
    label = np.random.default_rng(0).permutation(np.asarray(train["label"]))
    return rows.with_splits(
        {**rows.splits, "train": train.remove_columns("label").add_column("label", label)}
    )


def _leaking(rows: Rows) -> Rows:
    few = _with_train(rows, lambda label: np.arange(150))
    return few.with_splits({**few.splits, "validation": few.splits["train"]})


#: Fault → how the rows are changed, and which settings.
_MADE: dict[str, tuple[Callable[[Rows], Rows], dict[str, Any]]] = {
    FAULTS[0]: (lambda rows: rows, {"learning_rate": 3.0}),
    FAULTS[1]: (lambda rows: rows, {"learning_rate": 1e-6}),
    FAULTS[2]: (_shuffled, {"epochs": 20}),
    FAULTS[3]: (lambda rows: _with_train(rows, lambda label: np.arange(60)), {"epochs": 120}),
    FAULTS[4]: (lambda rows: _with_train(rows, lambda label: np.flatnonzero(label < 5)), {}),
    FAULTS[5]: (_leaking, {"epochs": 60}),
}
