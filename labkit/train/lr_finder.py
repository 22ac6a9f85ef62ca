"""Learning rate range test: train while the rate rises, and find where the loss falls fastest."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np

from labkit.core.errors import ConfigError, RunError
from labkit.data.rows import Rows
from labkit.i18n import _
from labkit.train.compilation import use_compilation_cache
from labkit.train.context import prepare
from labkit.train.experiment import Experiment

#: The search ends where the smoothed loss is this many times its least value.
DIVERGED = 4.0
#: Weight of the past in the smoothed loss (Smith, arXiv 1506.01186, tells the test; fastai the smoothing).
SMOOTH = 0.9


@dataclass(frozen=True, eq=False)
class RateSearchResult:
    """What :func:`find_learning_rate` saw. ``rates`` and the smoothed ``losses`` are f64[n], one a step made."""

    rates: np.ndarray
    losses: np.ndarray

    @property
    def steepest(self) -> float:
        """The rate at which the loss falls fastest, by the logarithm of the rate."""
        end = int(self.losses.argmin()) + 1
        if end < 3:
            return float(self.rates[0])
        return float(self.rates[int(np.gradient(self.losses[:end], np.log(self.rates[:end])).argmin())])

    @property
    def minimum(self) -> float:
        """A tenth of the rate at which the loss is least: beyond that it soon rises."""
        return float(self.rates[int(self.losses.argmin())]) / 10

    @property
    def suggestion(self) -> float:
        """The geometric mean of the two, to two digits."""
        return float(f"{math.sqrt(self.steepest * self.minimum):.1e}")

    def __repr__(self) -> str:
        return (
            f"<learning rate: {self.suggestion:g} suggested (the loss falls fastest at {self.steepest:.1e}, a tenth of "
            f"the rate of least loss is {self.minimum:.1e}; {len(self.rates)} steps)>"
        )


def find_learning_rate(
    experiment: Experiment,
    rows: Rows,
    low: float = 1e-7,
    high: float = 1.0,
    steps: int = 100,
    say: Callable[[str], None] = lambda message: None,
) -> RateSearchResult:
    """Train from the beginning with a rate that grows from ``low`` to ``high`` by a constant factor.

    The experiment's own schedule is left aside; its optimizer, batches and weights are used. Nothing is kept.

    Raises:
        ConfigError: the bounds or the number of steps cannot be used.
        RunError: the loss is not finite at the lowest rate already.
    """
    if not 0 < low < high or steps < 10:
        raise ConfigError(
            _("low = {low} must be above 0 and below high = {high}, and steps = {steps} must be at least 10."),
            low=low, high=high, steps=steps,
        )  # fmt: skip
    use_compilation_cache()
    train = experiment.train
    optimizer = train.optimizer.replace(
        schedule="constant", warmup=0.0, learning_rate=low, ema=0.0, unfreeze=0.0
    )
    plain = replace(experiment, train=train.replace(optimizer=optimizer))
    rates = np.geomspace(low, high, steps)
    losses: list[float] = []
    with tempfile.TemporaryDirectory(prefix="labkit-") as folder:
        rows.save(Path(folder) / "data")
        plan = prepare(plain, Path(folder), say)
        state = plan.steps.state(plan.weights(), train.seed)
        mean = 0.0
        for step, rate in enumerate(rates):
            state.learning_rate = plan.steps.replicate(np.float32(rate))
            state, told = plan.steps.train(state, plan.steps.place(plan.batches.at(step)))
            loss = float(jax.device_get(told["loss"]))
            mean = SMOOTH * mean + (1 - SMOOTH) * loss
            smooth = mean / (1 - SMOOTH ** (step + 1))
            if not math.isfinite(smooth) or (losses and smooth > DIVERGED * min(losses)):
                break
            losses.append(smooth)
    if not losses:
        raise RunError(
            _(
                "the loss was already not finite at a learning rate of {low}. Check the data, or use a lower low."
            ),
            low=low,
        )
    return RateSearchResult(rates[: len(losses)], np.asarray(losses))
