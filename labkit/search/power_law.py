"""The power law of learning curves: score(n) = c - a · n^(-b), with a bootstrap band.

 The form is that of Hestness et al. (2017) and Viering & Loog (2021). Orders of the training rows are drawn again,
each with all its nested subsets, and the law is fitted anew; noise of a single training is added.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labkit.core.errors import ConfigError, DataError
from labkit.i18n import _

#: Rows up to which a curve may be extrapolated, as a multiple of those that it was fitted on.
FARTHEST = 4
#: Exponents tried: from a curve that hardly bends to one that is flat soon.
_EXPONENTS = np.linspace(0.05, 1.5, 59)
#: Draws of the bootstrap, and the fewest sizes that a law of three numbers can be fitted to.
DRAWS, FEWEST = 1000, 4
_LEVEL = (2.5, 97.5)


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """A fitted learning curve.

    Attributes:
        sizes: numbers of training rows, i[s], rising.
        scores: f[r, s], of each order of the rows at each size.
        best: the best possible score; the law never exceeds it.
        laws: f[draws, 3]: a, b and c of every draw; the first is that of the scores themselves.
        noise: standard deviation of the score of a single training at the largest size.
    """

    sizes: np.ndarray
    scores: np.ndarray
    best: float
    laws: np.ndarray
    noise: float
    seed: int

    def at(self, rows: float) -> tuple[float, float, float]:
        """The expected score with so many training rows, and the 95 % band in which the score of one training
        lies.

        Raises:
            ConfigError: more than four times the rows that were used, or less than one.
        """
        self._check(rows)
        found = self._values(rows)
        low, high = np.percentile(np.minimum(found[1:] + self._noise(), self.best), _LEVEL)
        return float(found[0]), float(low), float(high)

    def gain(self, more: int) -> tuple[float, float, float]:
        """What so many more labels than the largest size are worth: the expected difference of the score, and
        its 95 % band, in which the noise of the next training is."""
        now = float(self.sizes[-1])
        self._check(now + more)
        found = self._values(now + more) - self._values(now)
        low, high = np.percentile(found[1:] + self._noise(), _LEVEL)
        return float(found[0]), float(low), float(high)

    @property
    def farthest(self) -> int:
        """The most rows for which there is an answer."""
        return FARTHEST * int(self.sizes[-1])

    def _noise(self) -> np.ndarray:
        """Noise of a single training: Student's t, since its deviation was estimated from few scores."""
        orders, sizes = self.scores.shape
        freedom = (orders - 1) * (sizes - 1) if orders > 1 else sizes - 3
        return self.noise * np.random.default_rng(self.seed).standard_t(freedom, len(self.laws) - 1)

    def _values(self, rows: float) -> np.ndarray:
        a, b, c = self.laws.T
        return c - a * rows**-b

    def _check(self, rows: float) -> None:
        if not 1 <= rows <= self.farthest:
            raise ConfigError(
                _("{rows:,.0f} rows: a learning curve of {used:,} rows is not extrapolated beyond 4 × as many "
                  "({most:,})."), rows=rows, used=int(self.sizes[-1]), most=self.farthest,
            )  # fmt: skip


def fit(sizes: np.ndarray, scores: np.ndarray, *, best: float = 1.0, seed: int = 0) -> PowerLaw:
    """Fit the law to scores f[orders, sizes].

    Raises:
        DataError: fewer than four sizes, sizes that do not rise, or scores that are not finite.
    """
    sizes, scores = np.asarray(sizes, np.float64), np.atleast_2d(np.asarray(scores, np.float64))
    if len(sizes) < FEWEST or (np.diff(sizes) <= 0).any() or sizes[0] < 1 or scores.shape[1] != len(sizes):
        raise DataError(
            _("a learning curve needs the scores of at least {fewest} rising numbers of rows; they are {sizes}."),
            fewest=FEWEST, sizes=", ".join(f"{size:g}" for size in sizes),
        )  # fmt: skip
    if not np.isfinite(scores).all():
        raise DataError(_("a learning curve needs finite scores."))
    random, orders = np.random.default_rng(seed), len(scores)
    middle = scores.mean(0)
    first = _laws(sizes, middle[None], best)
    shrink = np.sqrt(sizes[-1] / sizes)  # the noise of a training falls with the root of its rows
    residual = (middle - _curve(first, sizes)[0]) / shrink
    misfit = float(np.sqrt((residual**2).sum() / max(len(sizes) - 3, 1)))  # at the largest size
    if orders > 1:
        spread = (scores.std(0, ddof=1) / shrink)[:-1]  # all rows are the same rows in every order
        single = float(np.sqrt((spread**2).mean()))
        drawn = scores[random.integers(0, orders, (DRAWS, orders))].mean(1)
    else:
        single = misfit
        drawn = np.tile(middle, (DRAWS, 1))
    # Few orders drawn again vary too little, and one order not at all: what a mean may be off is added.
    drawn = drawn + shrink * random.normal(0, max(misfit, single / orders), drawn.shape)
    laws = np.concatenate([first, _laws(sizes, drawn, best)])
    return PowerLaw(sizes.astype(int), scores, best, laws, single, seed)


def _curve(laws: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    a, b, c = (each[:, None] for each in laws.T)
    return c - a * sizes**-b


def _laws(sizes: np.ndarray, scores: np.ndarray, best: float) -> np.ndarray:
    """The laws of least squared error of scores f[draws, sizes], f[draws, 3]: for each exponent the best a ≥ 0
    and c ≤ ``best`` in closed form. A score weighs as much as it has rows."""
    least = np.full(len(scores), np.inf)
    found = np.zeros((len(scores), 3))
    weight = sizes / sizes.sum()
    mean = scores @ weight
    for b in _EXPONENTS:
        x = sizes**-b
        middle = weight @ x
        off = weight * (x - middle)
        a = np.maximum(-(scores @ off) / (off @ x), 0.0)
        c = mean + a * middle
        over = c > best
        a = np.where(over, np.maximum((best - scores) @ (weight * x) / (weight @ x**2), 0.0), a)
        c = np.where(over, best, c)
        error = ((scores - c[:, None] + a[:, None] * x) ** 2) @ weight
        better = error < least
        least = np.where(better, error, least)
        found[better] = np.stack([a, np.full(len(a), b), c], axis=1)[better]
    return found
