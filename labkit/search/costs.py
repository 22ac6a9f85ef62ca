"""What a candidate costs: planned before it is trained, and measured when it answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from labkit.core.errors import ConfigError, nearest
from labkit.i18n import _
from labkit.profile.energy import EnergyMeter
from labkit.train.context import shapes_of
from labkit.train.cost_preview import CostPreview

#: Answers of one row each that are timed.
TIMED = 50
#: A forward pass as a share of a training step, where the model has no formula.
FORWARD = 1 / 3
#: Prices that a user may give.
PRICES = ("hour", "kwh", "hosted", "currency")


def cost_of(preview: CostPreview) -> dict[str, float | None]:
    """Parameters, FLOPs of an answer, bytes of the weights and of training, and the expected seconds."""
    plan, found = preview.plan, preview.estimate
    works = [plan.steps.activations(batch) for batch in shapes_of(plan.batches, plan.steps)]
    forward = [work.flops for work in works if work is not None]
    flops = FORWARD * found.flops_per_step if not forward else float(np.mean(forward))
    return {
        "parameters": found.parameters, "trainable": found.trainable,
        "flops": flops / plan.batches.examples_per_step, "training_bytes": found.memory_bytes,
        "expected_seconds": preview.seconds(),
    }  # fmt: skip


def time_answers(answer: Callable[[int], Any], rows: int) -> dict[str, float | None]:
    """Milliseconds of an answer to one row (median and 95th percentile), and watt-hours of 1,000 answers.

    Every row is answered once before, so that nothing is compiled while the time is measured.
    """
    places = np.linspace(0, rows - 1, min(TIMED, rows)).round().astype(int)
    for place in places:
        answer(int(place))
    taken = []
    with EnergyMeter() as meter:
        for place in places:
            begin = time.perf_counter()
            answer(int(place))
            taken.append(time.perf_counter() - begin)
    middle, high = 1e3 * np.percentile(taken, [50, 95])
    each = 1000 / len(places)
    return {
        "ms_p50": float(middle), "ms_p95": float(high),
        "wh_1000_low": each * meter.energy.low, "wh_1000_high": each * meter.energy.high,
    }  # fmt: skip


def check_prices(prices: Mapping[str, Any] | None) -> dict[str, Any]:
    """The prices of a user: ``hour`` of this machine, ``kwh`` of electricity, ``hosted`` for 1,000 answers of
    a service, and the name of the ``currency``.

    Raises:
        ConfigError: an unknown name, or a price that is not a number of 0 or more.
    """
    prices = dict(prices or {})
    for name, value in prices.items():
        if name not in PRICES:
            raise ConfigError(
                _("prices has {name!r}; it takes {known}.{hint}"), name=name, known=", ".join(PRICES),
                hint=nearest(name, PRICES),
            )  # fmt: skip
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name != "currency" and not (number and np.isfinite(value) and value >= 0):
            raise ConfigError(
                _("the price {name!r} is {value!r}; it must be a number of 0 or more."),
                name=name,
                value=value,
            )
    return prices


def money(
    seconds: float, energy: tuple[float, float], costs: Mapping[str, float | None], prices: Mapping[str, Any]
) -> dict[str, float | None]:
    """Price of training, of 1,000 answers, and the number of answers from which on this model is cheaper than
    the hosted one; None without the prices for it, infinity where it never is.

    The machine's hour is the price where it is given; else the electricity, at the upper end of its range.
    """
    hour, kwh, hosted = (prices.get(name) for name in ("hour", "kwh", "hosted"))
    trained = answered = breaks = None
    middle = costs.get("ms_p50")
    if hour is not None:
        trained = seconds / 3600 * hour
        answered = None if middle is None else middle / 3600 * hour
    elif kwh is not None:
        trained = energy[1] / 1000 * kwh
        high = costs.get("wh_1000_high")
        answered = None if high is None else high / 1000 * kwh
    if hosted is not None and trained is not None and answered is not None:
        breaks = 1000 * trained / (hosted - answered) if hosted > answered else float("inf")
    return {"training_price": trained, "price_1000": answered, "break_even": breaks}
