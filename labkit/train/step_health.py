"""Health checks of training steps: skipped updates and gradient spikes."""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import PyTree

from labkit.core.errors import RunError
from labkit.i18n import _
from labkit.train.step import TrainState

#: Updates in a row that may be left out for a gradient that is not finite.
MOST_SKIPPED = 5
#: A gradient so many times the running median is an alarm …
ALARM = 10.0
#: … and so many times the largest of the same steps: where some are always far above the others, that is
#: usual.
_ABOVE = 2.0
#: Of so many steps at most, and so many at least.
_WINDOW, _ENOUGH = 101, 20
#: Rows named in a message.
_SHOWN = 12


class NotFinite(RunError):
    """Too many consecutive updates were skipped; ``steps`` are theirs."""

    def __init__(self, steps: list[int]):
        super().__init__(
            _(
                "the gradient was not finite in {n_steps} steps in a row, the last of them step {step}.",
                n_steps=len(steps),
                step=steps[-1],
            )
        )
        self.steps = steps


class Health:
    """Follows the steps of a run as they are read."""

    def __init__(self, skipped: int = 0):
        self.skipped, self.alarms = skipped, 0
        self._in_a_row: list[int] = []
        self._norms: deque[float] = deque(maxlen=_WINDOW)

    def see(self, step: int, norm: float, skipped: int) -> str:
        """Gradient norm of a step, and the number of skipped updates so far; returns an alarm or nothing.

        Raises:
            NotFinite: the update was skipped like those before it.
        """
        self._in_a_row = [*self._in_a_row, step] if skipped > self.skipped else []
        self.skipped = skipped
        if len(self._in_a_row) >= MOST_SKIPPED:
            raise NotFinite(self._in_a_row)
        if not math.isfinite(norm):
            return ""
        usual = statistics.median(self._norms) if len(self._norms) >= _ENOUGH else math.inf
        alarming = max(ALARM * usual, _ABOVE * max(self._norms, default=0.0))
        self._norms.append(norm)
        if norm <= alarming:
            return ""
        self.alarms += 1
        return f"step {step}: the gradient is {norm / max(usual, 1e-30):.3g} times the usual"


@jax.jit
def _finite(tree: PyTree[Array]) -> Any:
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in floats]))


def is_finite(state: TrainState) -> bool:
    """Whether every parameter, average and statistic is a finite number, and the optimizer's numbers are."""
    return bool(_finite((state.trainable, state.ema, state.batch_stats, state.optimizer)))


def blamed(batch: dict[str, np.ndarray], rows: np.ndarray | None) -> list[int]:
    """Rows of a batch: those whose own numbers are not finite, where there are any, else all of them.

    Args:
        batch: as a loader gives it, with ``index`` i32[…], -1 for none.
        rows: number of each example in the source, i64[n]; None: examples are named by their place.
    """
    index = batch["index"]
    bad = np.zeros(len(index), bool)
    for array in batch.values():
        if array.dtype.kind == "f" and len(array) == len(index):
            bad |= ~np.isfinite(array).reshape(len(array), -1).all(1)
    found = np.unique(index[bad] if bad.any() else index)
    found = found[found >= 0]
    return (found if rows is None else rows[found]).tolist()


def listed(rows: list[int]) -> str:
    """``3, 8, 11`` or, of many, the first and how many there are."""
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return ", ".join(map(str, rows[:_SHOWN])) + more
