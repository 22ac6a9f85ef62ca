"""Search spaces: settings drawn at random, by a Sobol sequence, or asked of Optuna."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import qmc

from labkit.core.config import checked_seed
from labkit.core.errors import ConfigError, nearest
from labkit.core.extras import require
from labkit.i18n import _
from labkit.train.experiment import ModelSource

SAMPLERS = ("sobol", "random", "optuna")
#: The most settings that a space may draw.
MOST = 10_000


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; ``log``: as many from 1 to 10 as from 10 to 100;
    ``whole``: whole numbers only."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(
                _("Range({low!r}, {high!r}): the first number must be below the second."),
                low=self.low, high=self.high,
            )  # fmt: skip
        if self.log and self.low <= 0:
            raise ConfigError(_("Range(low={low!r}, log=True): low must be above 0."), low=self.low)

    def at(self, share: float) -> float | int:
        """The number at a share from 0 to 1 of the range."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        if self.whole and self.log:
            low = max(low, self.low / 2)
        found = low * (high / low) ** share if self.log else low + share * (high - low)
        found = min(max(found, self.low), self.high)
        return round(found) if self.whole else float(found)


@dataclass(frozen=True)
class Space:
    """One model with settings to search over.

    Args:
        model: as for :func:`labkit.fit`.
        settings: setting of the model, the task or the training → a :class:`Range`, or a list of choices.
        samples: number of candidates to draw.
        sampler: "sobol" (evenly spread), "random", or "optuna" (needs ``labkit[optuna]``): there the next
            settings depend on the scores of the earlier candidates at their first rung.
        seed: of the sampler.
        options: settings that all of them have.
    """

    model: ModelSource
    settings: Mapping[str, Range | Sequence[Any]]
    samples: int = 16
    sampler: str = "sobol"
    seed: int = 0
    options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        checked_seed(self.seed)
        if self.sampler not in SAMPLERS:
            raise ConfigError(
                _("sampler = {sampler!r} is not one of {known}.{hint}"), sampler=self.sampler,
                known=", ".join(SAMPLERS), hint=nearest(self.sampler, SAMPLERS),
            )  # fmt: skip
        if not self.settings:
            raise ConfigError(_("a search space needs settings, such as learning_rate=lk.Range(1e-4, 1e-2)."))
        if not 1 <= self.samples <= MOST:
            raise ConfigError(
                _("samples = {samples!r} must be a number from 1 to {most}."), samples=self.samples, most=MOST
            )
        for name, values in self.settings.items():
            if not isinstance(values, Range) and (isinstance(values, str | bytes) or not len(values)):
                raise ConfigError(
                    _("setting {name!r} must be a Range or a list of choices; it is {values!r}."),
                    name=name, values=values,
                )  # fmt: skip
        if self.sampler == "optuna":
            require("optuna")

    def draw(self) -> list[dict[str, Any]]:
        """The settings of every candidate; "optuna" suggests them one at a time instead."""
        names, seed = list(self.settings), self.seed
        if self.sampler == "sobol":
            power = math.ceil(math.log2(self.samples))
            shares = qmc.Sobol(len(names), scramble=True, rng=np.random.default_rng(seed)).random_base2(power)
        else:
            shares = np.random.default_rng(seed).random((self.samples, len(names)))
        return [
            {name: _at(self.settings[name], float(share)) for name, share in zip(names, line, strict=True)}
            for line in shares[: self.samples]
        ]

    def ask(self, number: int, known: Sequence[tuple[dict[str, Any], float | None]]) -> dict[str, Any]:
        """The settings that Optuna's TPE proposes as number ``number``, from the scores of the earlier ones.

        A function of its arguments alone: a study that was interrupted goes on with the same settings.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        kinds = {name: _distribution(values) for name, values in self.settings.items()}
        sampler = optuna.samplers.TPESampler(seed=self.seed + number)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for values, score in known:
            made = {name: _index(self.settings[name], values[name]) for name in kinds}
            state = optuna.trial.TrialState.FAIL if score is None else optuna.trial.TrialState.COMPLETE
            study.add_trial(
                optuna.trial.create_trial(params=made, distributions=kinds, value=score, state=state)
            )
        found = study.ask(kinds).params
        return {name: _choice(self.settings[name], value) for name, value in found.items()}


def _at(values: Range | Sequence[Any], share: float) -> Any:
    if isinstance(values, Range):
        return values.at(share)
    return values[min(int(share * len(values)), len(values) - 1)]


def _distribution(values: Range | Sequence[Any]) -> Any:
    """Optuna's distribution; a choice is drawn by its place in the list, since Optuna takes only plain
    values as choices."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(values, Range):
        return CategoricalDistribution(list(range(len(values))))
    if values.whole:
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)


def _index(values: Range | Sequence[Any], value: Any) -> Any:
    return value if isinstance(values, Range) else list(values).index(value)


def _choice(values: Range | Sequence[Any], found: Any) -> Any:
    return found if isinstance(values, Range) else values[found]
