"""The compiled steps: one function that trains, one that evaluates.

All work on pure state. Parameters are one flat dict, name (``trunk/encoder/…``) → array, split into those that move
and those that are frozen, so that no gradient is made for the latter.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.base.shapes import Array, Float, Int, PRNGKeyArray
from labkit.tasks.metrics import Counts, merge
from labkit.train.optim import Optimizer, decays

Params = dict[str, Any]


@jax.tree_util.register_dataclass
@dataclass
class State:
    """Everything that a step changes, and all that a checkpoint holds. The loader's position is ``step`` itself."""

    step: Int[Array, ""]  # updates made
    moving: Params  # parameters that are trained
    frozen: Params  # parameters that are not
    optimizer: Any
    key: PRNGKeyArray  # never changes: randomness is a function of (key, step)
    learning_rate: Float[Array, ""]  # the greatest rate; a command may change it without a new compilation
    sums: Counts  # metric sums since the last report
    skipped: Int[Array, ""]  # updates not applied because the gradient was not finite

    @property
    def params(self) -> Params:
        """All parameters, moving and frozen."""
        return {**self.moving, **self.frozen}


def flatten(tree: dict[Any, Any]) -> Params:
    """Nested parameters → flat, the names joined by ``/``."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(str(getattr(part, "key", part)) for part in path): leaf for path, leaf in leaves}


class Steps:
    """The steps of one task, model and optimizer, compiled once per batch shape.

    Args:
        task: a task joined to its data, such as :class:`labkit.tasks.classify.Classification`.
        module: the model with its head; only its structure and the parameters' shapes are used.
        optimizer: settings of the optimizer.
        layer_of: parameter name → its depth.
        top: depth of the head.
        total: steps of the whole run, for the schedule.
        report_every: steps after which the metric sums start anew.
    """

    def __init__(
        self,
        task: Any,
        module: nnx.Module,
        optimizer: Optimizer,
        layer_of: Callable[[str], int | np.ndarray],
        top: int,
        total: int,
        report_every: int,
    ):
        self.task, self.optimizer, self.total, self.report_every = task, optimizer, total, report_every
        self.graph, state = nnx.split(module)
        nested = nnx.to_pure_dict(state)
        self._tree = jax.tree_util.tree_structure(nested)
        shapes = {name: leaf.shape for name, leaf in flatten(nested).items()}
        self.names = tuple(shapes)
        self.multipliers = optimizer.multipliers(shapes, layer_of, top)
        self.moving = tuple(name for name in shapes if self.multipliers[name].any())
        self.transform = optimizer.build({name: decays(name) for name in self.moving})
        self.zeros = jax.jit(task.zeros)
        self.compilations, self.compile_seconds = 0, 0.0
        self._compiled: dict[tuple[str, tuple[int, ...]], Any] = {}
        self._kinds = {
            "train": jax.jit(self._train, donate_argnums=0),
            "evaluate": jax.jit(self._evaluate, donate_argnums=1),
        }

    # --- state ------------------------------------------------------------------------------------------------

    def state(self, params: Params, seed: int) -> State:
        """The state before the first step; ``params`` become its own (they are donated by the first step)."""
        moving = {name: jnp.asarray(params[name]) for name in self.moving}
        return State(
            step=jnp.zeros((), jnp.int32),
            moving=moving,
            frozen={name: jnp.asarray(params[name]) for name in self.names if name not in moving},
            optimizer=self.transform.init(moving),
            key=jax.random.key(seed),
            learning_rate=jnp.float32(self.optimizer.learning_rate),
            sums=self.zeros(),
            skipped=jnp.zeros((), jnp.int32),
        )

    def module(self, params: Params) -> Any:
        """The model with these parameters."""
        leaves = [params[name] for name in self.names]
        return nnx.merge(self.graph, jax.tree_util.tree_unflatten(self._tree, leaves))

    # --- what is compiled -------------------------------------------------------------------------------------

    def _train(self, state: State, batch: dict[str, Array]) -> tuple[State, dict[str, Any]]:
        key = jax.random.fold_in(state.key, state.step)

        def loss_of(moving: Params) -> tuple[Array, Counts]:
            return self.task.loss(self.module({**moving, **state.frozen}), batch, key)

        (loss, counts), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.moving)
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(gradient)))
        finite = jnp.isfinite(norm) & jnp.isfinite(loss)
        direction, optimizer = self.transform.update(gradient, state.optimizer, state.moving)
        rate = state.learning_rate * self.optimizer.shape(state.step, self.total)
        moved = {
            name: leaf - (rate * self.multipliers[name] * direction[name]).astype(leaf.dtype)
            for name, leaf in state.moving.items()
        }
        fresh = state.step % self.report_every == 0
        sums = jax.tree.map(lambda leaf: jnp.where(fresh, jnp.zeros_like(leaf), leaf), state.sums)
        sums = _choose(finite, merge(sums, counts), sums)
        new = State(
            step=state.step + 1,
            moving=_choose(finite, moved, state.moving),
            frozen=state.frozen,
            optimizer=_choose(finite, optimizer, state.optimizer),
            key=state.key,
            learning_rate=state.learning_rate,
            sums=sums,
            skipped=state.skipped + ~finite,
        )
        told = {"loss": loss, "learning_rate": rate, "gradient_norm": norm, "sums": sums, "skipped": new.skipped}
        return new, told

    def _evaluate(self, params: Params, sums: Counts, batch: dict[str, Array]) -> Counts:
        return merge(sums, self.task.loss(self.module(params), batch, None)[1])

    # --- compiling and calling --------------------------------------------------------------------------------

    def compile(self, kind: str, *args: Any) -> Any:
        """The compiled step ``kind`` for the shapes of ``args``; made at the first call for these shapes."""
        key = (kind, args[-1]["ids"].shape)
        if key not in self._compiled:
            begin = time.monotonic()
            self._compiled[key] = self._kinds[kind].lower(*args).compile()
            self.compilations += kind == "train"
            self.compile_seconds += time.monotonic() - begin
        return self._compiled[key]

    def train(self, state: State, batch: dict[str, Array]) -> tuple[State, dict[str, Any]]:
        """One update. ``state`` is donated: use the one returned."""
        return self.compile("train", state, batch)(state, batch)

    def evaluate(self, params: Params, sums: Counts, batch: dict[str, Array]) -> Counts:
        """Add a batch to the metric sums (donated)."""
        return self.compile("evaluate", params, sums, batch)(params, sums, batch)


def _choose(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
