"""Advice after a run, from its recorded losses alone: train longer, overfitting, a learning rate that does not fit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from labkit.i18n import _

#: The training loss hardly moved where it fell by less than this share.
MOVED = 0.1
#: It rose where it once was higher than at the beginning by this factor.
ROSE = 1.3
#: The validation loss was still falling where the last third of the evaluations took off this share of it …
FALLING = 0.02
#: … and the model overfits where the loss at the end is above the lowest by this share.
OVERFIT = 0.05
#: Evaluations and training steps below which nothing can be read from the validation or the training loss.
FEW_EVALUATIONS, FEW_STEPS = 3, 10

Points = Sequence[tuple[int, float]]


def advise(train: Points, validation: Points, steps_per_epoch: float, rate: float | None = None) -> list[str]:
    """Sentences on how to train better; none where the losses give no reason for one.

    Args:
        train: (step, loss) of the training batches.
        validation: (step, loss) of the evaluations.
        steps_per_epoch: optimizer steps in an epoch.
        rate: the learning rate, to name it.
    """
    stuck = _stuck(train, rate)
    if stuck:
        return [stuck]
    points = [(step, loss) for step, loss in sorted(validation) if math.isfinite(loss)]
    if len(points) < FEW_EVALUATIONS:
        return []
    losses = np.array([loss for _, loss in points])
    best, last = int(losses.argmin()), len(points) - 1
    if losses[last] > (1 + OVERFIT) * losses[best] and _falls(train, points[best][0]):
        return [
            _(
                "Overfitting since epoch {epoch}: the training loss kept falling, while the validation loss rose "
                "from {low:.3g} to {high:.3g}. Try more training rows, fewer epochs, dropout or weight decay.",
                epoch=_epoch(points[best][0], steps_per_epoch), low=float(losses[best]), high=float(losses[last]),
            )
        ]  # fmt: skip
    before = last - max(1, len(points) // 3)
    if best == last and losses[before] - losses[last] > FALLING * losses[before]:
        return [
            _(
                "The validation loss was still falling at the end, from {high:.3g} at epoch {before} to {low:.3g} at "
                "epoch {epoch}: train for more epochs.",
                high=float(losses[before]), low=float(losses[last]),
                before=_epoch(points[before][0], steps_per_epoch),
                epoch=_epoch(points[last][0], steps_per_epoch),
            )
        ]  # fmt: skip
    return []


def _epoch(step: int, steps_per_epoch: float) -> str:
    return f"{round(step / max(steps_per_epoch, 1e-9), 1):g}"


def _stuck(train: Points, rate: float | None) -> str:
    """What to say of a training loss that never fell; empty for one that did, or with few steps."""
    losses = [loss for _, loss in sorted(train)]
    if len(losses) < FEW_STEPS:
        return ""
    few = max(3, len(losses) // 20)
    first, last = float(np.mean(losses[:few])), float(np.mean(losses[-few:]))
    if first <= 0 or last <= (1 - MOVED) * first:  # a loss below zero has no scale to compare with
        return ""
    windows = [float(np.mean(losses[at : at + few])) for at in range(0, len(losses) - few + 1, few)]
    named = "" if rate is None else _(" (it was {rate:g})", rate=rate)
    if not math.isfinite(last) or max(windows) > ROSE * first:
        return _(
            "The training loss rose from {first:.3g} to {high:.3g}: the learning rate is probably too high{named}.",
            first=first, high=max([last, *windows]) if math.isfinite(last) else last, named=named,
        )  # fmt: skip
    return _(
        "The training loss hardly fell, from {first:.3g} to {last:.3g}: the learning rate is probably too low{named}, "
        "or the labels cannot be predicted from these inputs.",
        first=first, last=last, named=named,
    )  # fmt: skip


def _falls(train: Points, since: int) -> bool:
    """Whether the training loss after a step is below that around it."""
    before = [loss for step, loss in train if step <= since][-20:]
    after = [loss for step, loss in train if step > since][-20:]
    return bool(before and after) and float(np.mean(after)) < float(np.mean(before))
