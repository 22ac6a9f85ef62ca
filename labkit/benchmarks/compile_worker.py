"""Worker that recompiles labkit's step at every turn: ``depth`` layers, with or without the persistent cache in
``cache``."""

from __future__ import annotations

import time
from typing import Any

import jax
from flax import nnx

from labkit.train.context import shapes_of, steps_of, with_precision

from . import cases
from .turns import Turns

BEGIN = time.perf_counter()


def work(turns: Turns, settings: dict[str, Any]) -> None:
    """Make the steps of a BERT of ``depth`` layers and compile them for every shape of its batches."""
    jax.config.update("jax_enable_compilation_cache", bool(settings.get("cache")))
    if settings.get("cache"):
        jax.config.update("jax_compilation_cache_dir", settings["cache"])
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    with cases.prepared("bert") as setup:
        experiment = setup.experiment
        model = with_precision(experiment.model.replace(depth=settings.get("depth", experiment.model.depth)))
        shapes = setup.batches.shapes[: settings.get("shapes")]
        turns.prepare = lambda steps: jax.clear_caches()
        turns.ready(prepared_seconds=time.perf_counter() - BEGIN, shapes=[list(shape) for shape in shapes])
        while True:
            module = nnx.eval_shape(lambda: setup.head.init(model, nnx.Rngs(0)))
            steps = steps_of(experiment.replace(model=model), setup.head, module, setup.batches)
            state = steps.abstract_state()
            for batch in shapes_of(setup.batches, steps)[: len(shapes)]:
                steps.compile("train", state, batch)
            turns.passed()
