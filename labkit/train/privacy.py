"""Differential privacy: the target of a run, the noise that meets it, and the epsilon spent so far."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from labkit.core.config import SEEDS, Config, option
from labkit.core.errors import ConfigError
from labkit.core.extras import require
from labkit.i18n import _
from labkit.tasks.base import Task
from labkit.train.callbacks import Callback, Progress

if TYPE_CHECKING:
    from dp_accounting.dp_event import DpEvent

#: Width of the grid on which privacy losses are summed; they are rounded up to it.
GRID = 1e-3
#: Noise multipliers below this are not searched: they protect nothing.
LEAST_NOISE = 0.1
#: Tolerance of the noise multiplier that meets a target.
TOLERANCE = 1e-3
#: Share of delta that all draws with more rows than places may have together.
OVERFULL = 0.1
#: Points of the curve of epsilon.
POINTS = 50


@dataclass(frozen=True)
class Privacy(Config):
    """The target of differentially private training (DP-SGD, Abadi et al., arXiv 1607.00133).

    The unit is one training row: whether a row was there or not changes the probability of any outcome by at
    most the factor exp(epsilon), up to delta. The noise that this needs follows from the target, the batch
    size and the number of steps.
    """

    epsilon: float = option(
        help=_("Target ε for one training row. Smaller is more private; 1 to 8 are usual."),
        low=1e-3,
        high=1e3,
    )
    delta: float = option(help=_("Target δ; smaller than 1 / number of training rows."), low=1e-300, high=0.5)
    clip: float = option(
        1.0,
        _("Maximum norm of the gradient of one row; larger ones are scaled down to it."),
        low=1e-6,
        high=1e6,
    )
    noise_seed: int | None = option(
        None,
        _(
            "Seed of the noise, for tests only: whoever knows it can remove the noise. Default: random bits of "
            "the system, kept in the run's folder."
        ),
        low=0,
        high=SEEDS,
    )


@dataclass(frozen=True)
class Sampling:
    """How the batches of a run are drawn.

    Attributes:
        rows: training rows.
        expected: rows of a batch on average.
        largest: places of a batch.
        steps: of the whole run.
    """

    rows: int
    expected: int
    largest: int
    steps: int

    @property
    def rate(self) -> float:
        """Probability that a row is in a batch."""
        return min(1.0, self.expected / self.rows)

    def event(self, noise: float, steps: int) -> DpEvent:
        """``steps`` steps with so much noise, for the accountant; draws with too many rows are counted."""
        from dp_accounting import dp_event

        if self.largest >= self.rows:
            one = dp_event.PoissonSampledDpEvent(self.rate, dp_event.GaussianDpEvent(noise))
        else:
            one = dp_event.TruncatedSubsampledGaussianDpEvent(self.rows, self.rate, self.largest, noise)
        return dp_event.SelfComposedDpEvent(one, steps)


def places(rows: int, expected: int, steps: int, delta: float, parts: int) -> int:
    """Places of a batch, a multiple of ``parts``: in all steps together, a draw with more rows has a
    probability below a tenth of delta."""
    from scipy import stats

    rate = min(1.0, expected / rows)
    most = int(stats.binom.isf(OVERFULL * delta / steps, rows, rate)) + 1 if rate < 1 else rows
    return -(-max(1, min(most, rows)) // parts) * parts


def spent(sampling: Sampling, noise: float, steps: int, delta: float) -> float:
    """The epsilon of the first ``steps`` steps, by dp-accounting's privacy loss distributions."""
    return _one_step(sampling, noise).self_compose(steps).get_epsilon_for_delta(delta) if steps else 0.0


@functools.lru_cache(8)
def _one_step(sampling: Sampling, noise: float) -> Any:
    """The privacy loss distribution of one step."""
    require("privacy")
    from dp_accounting.pld import privacy_loss_distribution as losses

    settings = {"value_discretization_interval": GRID}
    if sampling.largest >= sampling.rows:
        return losses.from_gaussian_mechanism(noise, sampling_prob=sampling.rate, **settings)
    return losses.from_truncated_subsampled_gaussian_mechanism(
        dataset_size=sampling.rows, sampling_probability=sampling.rate, truncated_batch_size=sampling.largest,
        noise_multiplier=noise, **settings,
    )  # fmt: skip


@functools.lru_cache(32)
def noise_for(sampling: Sampling, epsilon: float, delta: float) -> float:
    """The least noise multiplier (standard deviation ÷ clip) with which all steps meet a target.

    Raises:
        ExtraError: dp-accounting is not installed.
        ConfigError: no noise meets the target.
    """
    require("privacy")
    import dp_accounting
    from dp_accounting import mechanism_calibration
    from dp_accounting.pld import PLDAccountant
    from dp_accounting.rdp import RdpAccountant

    logging.getLogger("absl").setLevel(logging.ERROR)  # it logs each order that it leaves out
    poisson = replace(sampling, largest=sampling.rows)

    def search(account: Callable[[], Any], of: Sampling, bracket: Any, tolerance: float) -> float:
        return dp_accounting.calibrate_dp_mechanism(
            account, lambda noise: of.event(noise, of.steps), epsilon, delta, bracket, tol=tolerance
        )

    def exact() -> PLDAccountant:
        return PLDAccountant(value_discretization_interval=GRID)

    wide = dp_accounting.LowerEndpointAndGuess(LEAST_NOISE, 1.0)
    try:
        near = search(RdpAccountant, poisson, wide, 0.01)  # an upper bound in a tenth of the time
        try:
            narrow = dp_accounting.ExplicitBracketInterval(0.75 * near, 1.1 * near)
            found = search(exact, sampling, narrow, TOLERANCE)
        except ValueError:
            found = search(exact, sampling, wide, TOLERANCE)
    except (ValueError, mechanism_calibration.NoBracketIntervalFoundError):
        raise ConfigError(
            _(
                "no noise multiplier above {least} gives epsilon = {epsilon} at delta = {delta} in {steps:,} steps of "
                "{expected} out of {rows:,} rows. Choose an epsilon between 0.1 and 10."),
            least=LEAST_NOISE, epsilon=epsilon, delta=delta, steps=sampling.steps, expected=sampling.expected,
            rows=sampling.rows,
        ) from None  # fmt: skip
    return round(math.ceil(found / TOLERANCE) * TOLERANCE, 6)


def check_delta(privacy: Privacy, rows: int) -> None:
    """Raise :class:`ConfigError` where delta is so large that a mechanism that publishes a row would meet it."""
    if rows and privacy.delta >= 1 / rows:
        raise ConfigError(
            _(
                "delta = {delta:g} is not below 1 / {rows:,} (training rows): publishing one of the rows would meet "
                "such a target. Choose {fitting:g} or less."),
            delta=privacy.delta, rows=rows, fitting=float(f"{0.1 / rows:.0e}"),
        )  # fmt: skip


def check_private(task: Task, training: Any) -> None:
    """Check that the privacy of a run can be accounted for.

    Raises:
        ConfigError: a setting that mixes rows, or decides by rows that nothing protects.
    """
    if training.privacy is None:
        return
    values, name = task.values(), type(task).__name__
    mixup, weights = values.get("mixup"), values.get("class_weights", "none")
    reasons = (
        (task.problem_type is None,
         _("task {name}: a row is part of several examples, or an example depends on other rows", name=name)),
        (mixup, _("mixup = {mixup}: it mixes the rows of a batch", mixup=mixup)),
        (weights != "none", _("class_weights = {weights!r}: they are counts of the private rows", weights=weights)),
        (training.packing == "always", _("packing = 'always': several rows share one example")),
        (training.warm_start,
         _("warm_start: epsilon does not cover the rows that the first model was trained on")),
        (training.patience,
         _("patience = {patience}: early stopping decides by private rows, which epsilon does not cover",
           patience=training.patience)),
        (training.model_parallel > 1 or training.sharded or training.devices > 1,
         _("several devices: set devices = 1, model_parallel = 1 and sharded = false")),
    )  # fmt: skip
    for refused, why in reasons:
        if refused:
            raise ConfigError(_("differential privacy cannot be combined with {why}."), why=why)


class PrivacyLog(Callback):
    """Records the epsilon spent so far, at :data:`POINTS` steps and the last one.

    Args:
        sampling: how batches are drawn.
        noise: the noise multiplier.
        delta: the target delta.
    """

    def __init__(self, sampling: Sampling, noise: float, delta: float):
        super().__init__()
        self.sampling, self.noise, self.delta = sampling, noise, delta
        self.every = max(1, -(-sampling.steps // POINTS))

    def on_step(self, progress: Progress, step: int, metrics: Mapping[str, float]) -> None:
        if step % self.every == 0 or step in (1, progress.steps):
            progress.log({"epsilon": spent(self.sampling, self.noise, step, self.delta)})
