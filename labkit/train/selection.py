"""Model selection and early stopping."""

from __future__ import annotations

import math
from collections.abc import Mapping

#: Step → metric → value on the validation rows.
Evaluations = Mapping[int, Mapping[str, float]]


def best_of(evaluations: Evaluations, metric: str, sign: float) -> int | None:
    """The step of the best evaluation: by ``sign`` times ``metric``, among equals by the lower loss, then the
    earliest.

    Evaluations whose metric is NaN do not count; None where none counts.
    """
    scored = {step: values[metric] for step, values in evaluations.items() if not _lacks(values, metric)}
    if not scored:
        return None
    return max(scored, key=lambda step: (sign * scored[step], -_loss(evaluations[step]), -step))


def without_gain(evaluations: Evaluations, metric: str, sign: float) -> int:
    """Evaluations since the best one.

    Those before the metric first changed do not count: F1 stays at 0 until the first row of a rare class is
    found, however well the model learns. Where the loss has not changed either, the model does not learn and
    all count.
    """
    best = best_of(evaluations, metric, sign)
    if best is None:
        return 0
    steps = sorted(evaluations)
    values = [evaluations[step].get(metric, math.nan) for step in steps]
    changed = next((place for place, value in enumerate(values) if value != values[0]), None)
    if changed is None:
        learns = len({_loss(evaluations[step]) for step in steps}) > 1
        return 0 if learns else len(steps) - 1
    return sum(step > best for step in steps[changed:])


def _lacks(values: Mapping[str, float], metric: str) -> bool:
    return math.isnan(values.get(metric, math.nan))


def _loss(values: Mapping[str, float]) -> float:
    loss = values.get("loss", math.nan)
    return math.inf if math.isnan(loss) else loss
