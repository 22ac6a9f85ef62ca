"""labkit: the steps that a run would make, one turn after the other."""

from __future__ import annotations

from typing import Any

import jax

from labkit.train.prefetch import Prefetcher

from . import cases
from .turns import Turns

#: Calls that may be under way before the oldest loss is read, as in labkit's loop.
AHEAD = 2


def work(turns: Turns, settings: dict[str, Any]) -> None:
    """Compile every shape, then train.

    Args:
        turns: see :class:`labkit.benchmarks.turns.Turns`.
        settings: ``case``; ``model`` and ``train`` change the case.
    """
    with cases.prepared(settings["case"], settings.get("model"), **settings.get("train", {})) as setup:
        steps, batches, most = setup.steps, setup.batches, setup.most
        state = steps.state(setup.params, 0)
        cases.compile_all(setup)
        counted: list[tuple[int, int]] = []
        waiting: list[Any] = []
        step = 0

        def count(wanted: int) -> None:
            """What the steps of a turn really hold, before its clock starts."""
            counted[:] = [cases.real(batches.at(step + place)) for place in range(wanted + most)]

        turns.prepare, turns.settle = count, lambda: jax.block_until_ready(state)
        with Prefetcher(batches, steps, most) as feed:
            turns.ready(
                shapes=[list(shape) for shape in batches.shapes],
                padding_share=round(batches.padding_share, 4),
                updates_per_call=most,
                compile_seconds=round(steps.compile_seconds, 3),
                layout=setup.summary.get("layout", ""),
                **cases.versions(),
            )
            while True:
                with jax.transfer_guard("disallow"):
                    portion = feed.take(step, most, most)
                    if most == 1:
                        state, told = steps.train(state, portion.batch)
                    else:
                        state, told = steps.multi_step(state, portion.batch, portion.count)
                    waiting.append(told["loss"])
                    if len(waiting) > AHEAD:
                        jax.device_get(waiting.pop(0))
                step += portion.steps
                done, counted[: portion.steps] = counted[: portion.steps], []
                turns.passed(
                    sum(tokens for tokens, _ in done), sum(count for _, count in done), portion.steps
                )
