"""labkit's training loop with its store and a reader like the panel's, or (``bare``) nothing but its compiled step.

Both take the same steps of the same run. The bare one finds its batches on the device before the clock of a turn
starts, and reads nothing.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

import jax

from labkit.runs.handle import RunHandle
from labkit.runs.logger import RunLogger
from labkit.runs.store import Store
from labkit.train import loop
from labkit.train.prefetch import Prefetcher

from . import cases
from .turns import Over, Turns

#: Seconds between two looks of the reader, as between two of a panel.
LOOK = 0.5
#: What JAX calls an event of its compiler.
COMPILED = "/jax/core/compile/backend_compile_duration"


def work(turns: Turns, settings: dict[str, Any]) -> None:
    """Train as ``settings`` say: ``case``, ``bare``."""
    (_bare if settings.get("bare") else _whole)(turns, settings)


def _bare(turns: Turns, settings: dict[str, Any]) -> None:
    with cases.prepared(settings["case"]) as setup:
        steps, most = setup.steps, setup.most
        state = steps.state(setup.params, 0)
        cases.compile_all(setup)
        placed: list[Any] = []
        step = 0

        def place(wanted: int) -> None:
            with Prefetcher(setup.batches, steps, most) as feed:
                placed[:] = [feed.take(step + first, most, 0) for first in range(0, wanted, most)]
            jax.block_until_ready([portion.batch for portion in placed])

        turns.prepare, turns.settle = place, lambda: jax.block_until_ready(state)
        turns.ready(updates_per_call=most, **cases.versions())
        while True:
            portion = placed.pop(0)
            if most == 1:
                state, _ = steps.train(state, portion.batch)
            else:
                state, _ = steps.multi_step(state, portion.batch, portion.count)
            step += portion.steps
            turns.passed(steps=portion.steps)


def _whole(turns: Turns, settings: dict[str, Any]) -> None:
    """The loop itself, from :func:`labkit.train.loop.work`; it is held at its calls of the compiled step."""
    compiled: list[float] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compiled.append(seconds) if event == COMPILED else None
    )
    unguarded, made = 0, 0
    call = loop.TrainingLoop.run_steps

    def held(self: Any, portion: Any) -> Any:
        nonlocal unguarded, made
        if not made:
            compiled.clear()
            turns.settle = lambda: jax.block_until_ready(self.state)
            turns.more = lambda: {"compilations": len(compiled), "transfers": unguarded}
            turns.ready(updates_per_call=self.setup.most, **cases.versions())
        else:
            turns.passed(steps=made)
        made = portion.steps
        # Inside the loop an implicit transfer is an error; what would escape that guard is counted.
        leaves = jax.tree.leaves((self.state, portion.batch))
        unguarded += jax.config.jax_transfer_guard != "disallow" or not all(
            isinstance(x, jax.Array) for x in leaves
        )
        return call(self, portion)

    with tempfile.TemporaryDirectory(prefix="labkit-bench-") as folder:
        store = Store(Path(folder))
        run = RunHandle.create(
            store, cases.experiment(settings["case"], evaluate_every=10**9), cases.rows_of(settings["case"])
        )
        over = threading.Event()
        reader = threading.Thread(target=_read, args=(store, run.id, over), daemon=True)
        reader.start()
        loop.TrainingLoop.run_steps = held
        try:
            loop.work(RunLogger(store, run.id))
            raise RuntimeError(
                f"the run ended by itself: {store.run(run.id).error or 'all its steps are made'}"
            )
        except Over:
            pass
        finally:
            loop.TrainingLoop.run_steps = call
            over.set()
            reader.join()


def _read(store: Store, run: str, over: threading.Event) -> None:
    """Read what a live panel reads, as often."""
    seen = 0
    while not over.wait(LOOK):
        store.run(run)
        for record in store.records(run, seen):
            seen = record.seq
