"""The compiled steps: one function that trains, one that evaluates.

 All work on pure state. Parameters are one flat dict, name (``backbone/encoder/…``) → array, split into those
that move and those that are frozen, so that no gradient is made for the latter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import PyTree

from labkit.core.errors import ConfigError
from labkit.core.shapes import Array, Float, Int, PRNGKeyArray
from labkit.i18n import _
from labkit.models.base import ModelConfig
from labkit.models.layers import compute_dtype
from labkit.profile.activations import Activations
from labkit.profile.compiler import compiler_options
from labkit.tasks.base import Head, MetricState
from labkit.train.clipping import NoisySum
from labkit.train.compilation import cache_hits
from labkit.train.optimizer import Optimizer, decays, optimizers
from labkit.train.recompile import Signature, why
from labkit.train.sharding import Placement
from labkit.train.shared_programs import programs_of

Params = dict[str, Any]
#: Which arithmetic a step has; a greater number where the same experiment gets other last bits than before.
ARITHMETIC = 2
#: Keeps the mean of a batch without any weight finite.
LEAST_WEIGHT = 1e-6


@jax.tree_util.register_dataclass
@dataclass
class TrainState:
    """Everything that a step changes, and all that a checkpoint holds. The loader's position is ``step``
    itself."""

    step: Int[Array, ""]  # updates made
    trainable: Params  # parameters that are trained
    frozen: Params  # parameters that are not
    ema: Params  # the running average of the trainable ones, where one is wanted
    batch_stats: Params  # what layers keep of the batches they saw (batch normalisation)
    optimizer: Any
    key: PRNGKeyArray  # never changes: randomness is a function of (key, step)
    learning_rate: Float[Array, ""]  # the greatest rate; a command may change it without a new compilation
    sums: MetricState  # metric sums since the last report
    skipped: Int[Array, ""]  # updates not applied because the gradient was not finite

    @property
    def params(self) -> Params:
        """Computes the parameters that are evaluated and saved: averages, where there are any, for what
        moves."""
        return {**self.trainable, **self.ema, **self.frozen, **self.batch_stats}


def flatten(tree: dict[Any, Any]) -> Params:
    """Nested parameters → flat, the names joined by ``/``."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(str(getattr(part, "key", part)) for part in path): leaf for path, leaf in leaves}


class TrainStep:
    """The steps of one task, model and optimizer, compiled once per batch shape.

    Args:
        task: the head of a task, joined to its data.
        module: the model with its head; only its structure and the parameters' shapes are used, so it may be
            abstract (``nnx.eval_shape``).
        optimizer: settings of the optimizer.
        layer_of: parameter name → its depth.
        top: depth of the head.
        total: steps of the whole run, for the schedule.
        report_every: steps after which the metric sums start anew.
        accumulate: parts that a batch is computed in, one after the other; the gradient is that of the whole
        batch.
        placement: where the arrays live; None for one device.
        model: config of the model, for cost estimates by its formulas.
        private: how gradients are clipped row by row and noised; None for the plain gradient.
    """

    def __init__(
        self,
        task: Head,
        module: nnx.Module,
        optimizer: Optimizer,
        layer_of: Callable[[str], int | np.ndarray],
        top: int,
        total: int,
        report_every: int,
        *,
        accumulate: int = 1,
        placement: Placement | None = None,
        model: ModelConfig | None = None,
        private: NoisySum | None = None,
    ):
        self.model, self.private = model, private
        if private is not None:  # clipping row by row takes its place
            optimizer = optimizer.replace(clip=0.0)
        self.task, self.optimizer, self.total, self.report_every = task, optimizer, total, report_every
        self.accumulate, self.placement = accumulate, placement
        self.graph, state = nnx.split(module)
        nested = nnx.to_pure_dict(state)
        self._tree = jax.tree_util.tree_structure(nested)
        self._shapes = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in flatten(nested).items()}
        self._names = tuple(self._shapes)
        self._batch_stats = tuple(flatten(nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))))
        if private is not None and self._batch_stats:
            raise ConfigError(
                _(
                    "differential privacy cannot be combined with batch normalisation, which mixes the rows of a "
                    "batch ({layer}). Choose a model without it, or with norm = \"group\" where it has that setting."),
                layer=self._batch_stats[0].rpartition("/")[0],
            )  # fmt: skip
        self.shapes = {name: x for name, x in self._shapes.items() if name not in self._batch_stats}
        self.multipliers = optimizer.multipliers(
            {name: x.shape for name, x in self.shapes.items()}, layer_of, top
        )
        self.trainable = tuple(name for name in self.shapes if self.multipliers[name].any())
        between = {
            name for name in self.trainable if name.endswith("/kernel") and _between(layer_of(name), top)
        }
        matrices = [name for name in between if self.shapes[name].ndim >= 2]
        decayed = {name: decays(name) for name in self.trainable}
        self.transform = optimizer.build(decayed, matrices)
        self._adamw = optimizer.fused_adamw(decayed)
        begins = {
            name: _like(optimizer.begins(layer_of(name), top, total), self.shapes[name])
            for name in self.trainable
        }
        self._begins = begins if optimizer.unfreeze else {}
        self.empty = jax.jit(task.empty)
        self.compilations, self.from_cache, self.compile_seconds = 0, 0, 0.0
        self.reasons: list[str] = []  # why each compilation after the first of its kind was needed
        self._compiled: dict[str, dict[Any, Any]] = {"train": {}, "multi_step": {}, "evaluate": {}}
        self._jitted = {
            "train": jax.jit(self._train, donate_argnums=0),
            "multi_step": jax.jit(self._multi_step, donate_argnums=0),
            "evaluate": jax.jit(self._evaluate, donate_argnums=1),
        }

    # --- state ------------------------------------------------------------------------------------------------

    def state(self, params: Params, seed: int) -> TrainState:
        """The state before the first step; ``params`` become its own (they are donated by the first step)."""
        if self.placement is None:
            return self._state(params, seed)
        if not self.placement.shared:
            state = self._state(params, seed)
            return jax.device_put(state, self.placement.state(state))
        host = {name: np.asarray(leaf) for name, leaf in params.items()}
        where = self.placement.state(jax.eval_shape(lambda params: self._state(params, seed), host))
        return jax.jit(lambda params: self._state(params, seed), out_shardings=where)(host)

    def abstract_state(self) -> TrainState:
        """Shapes, data types and, on several devices, shardings of the state; nothing is allocated."""
        state = jax.eval_shape(lambda params: self._state(params, 0), self._shapes)
        if self.placement is None:
            return state
        return jax.tree.map(
            lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
            state, self.placement.state(state),
        )  # fmt: skip

    def _state(self, params: Params, seed: int) -> TrainState:
        trainable = {name: jnp.asarray(params[name]) for name in self.trainable}
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            trainable=trainable,
            frozen={name: jnp.asarray(params[name]) for name in self.shapes if name not in trainable},
            ema={name: jnp.copy(leaf) for name, leaf in trainable.items()} if self.optimizer.ema else {},
            batch_stats={name: jnp.asarray(params[name]) for name in self._batch_stats},
            optimizer=self.transform.init(trainable),
            key=jax.random.key(seed),
            learning_rate=jnp.float32(self.optimizer.learning_rate),
            sums=self.empty(),
            skipped=jnp.zeros((), jnp.int32),
        )

    def module(self, params: Params) -> Any:
        """The model with these parameters."""
        leaves = [params[name] for name in self._names]
        return nnx.merge(self.graph, jax.tree_util.tree_unflatten(self._tree, leaves))

    def activations(self, batch: dict[str, Any]) -> Activations | None:
        """What a forward pass computes and keeps of a batch, by formula; None where the model or task has
        none."""
        return None if self.model is None else self.task.activations(self.model, batch)

    @property
    def product_dtype(self) -> str:
        """Data type of the factors of the products of matrices."""
        dtype = "float32" if self.model is None else self.model.dtype
        return "bfloat16" if dtype == "mixed" else str(compute_dtype(dtype))

    def place(self, batch: dict[str, Any], stacked: bool = False) -> dict[str, Any]:
        """Put a batch of NumPy arrays (``stacked``: several, on a first axis) on the devices; returns at
        once."""
        if self.placement is None:
            return jax.device_put(batch)
        return self.placement.put(batch, self.placement.batch(batch, stacked))

    def replicate(self, value: PyTree[Any]) -> Any:
        """Put numbers on every device."""
        if self.placement is None:
            return jax.device_put(value)
        return self.placement.put(value, jax.tree.map(lambda _: self.placement.replicated, value))

    def on_host(self, params: Params) -> Params:
        """Parameters as NumPy arrays, in every process whole."""
        if self.placement and self.placement.shared:
            replicated = jax.tree.map(lambda _: self.placement.replicated, params)
            params = jax.jit(lambda tree: tree, out_shardings=replicated)(params)
        return jax.device_get(params)

    def abstract_batch(self, batch: dict[str, Any], stacked: int = 1) -> dict[str, jax.ShapeDtypeStruct]:
        """A batch (arrays or their shapes) as :meth:`place` would place it; above 1, so many on a first axis."""
        where = None if self.placement is None else self.placement.batch(batch, stacked > 1)
        first = (stacked,) if stacked > 1 else ()
        return {
            name: jax.ShapeDtypeStruct((*first, *x.shape), x.dtype, sharding=where and where[name])
            for name, x in batch.items()
        }

    # --- what is compiled -------------------------------------------------------------------------------------

    def function(self, kind: str) -> Callable[..., Any]:
        """The plain function behind ``kind``: ``train`` (state, batch), ``multi_step`` (state, batches,
        count) or ``evaluate`` (params, sums, batch)."""
        return {"train": self._train, "multi_step": self._multi_step, "evaluate": self._evaluate}[kind]

    def _train(self, state: TrainState, batch: dict[str, Array]) -> tuple[TrainState, dict[str, Any]]:
        key = jax.random.fold_in(state.key, state.step)
        loss, counts, batch_stats, gradient = self._gradient(state, batch, key)
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(gradient)))
        finite = jnp.isfinite(norm)
        if self.private is None:  # otherwise the loss, which is not noised, must not decide
            finite &= jnp.isfinite(loss)
        rate = state.learning_rate * self.optimizer.shape(state.step, self.total)
        moved, optimizer = self._update(state, gradient, norm, finite, rate)
        fresh = state.step % self.report_every == 0
        sums = jax.tree.map(lambda leaf: jnp.where(fresh, jnp.zeros_like(leaf), leaf), state.sums)
        sums = _choose(finite, sums.merge(counts), sums)
        new = TrainState(
            step=state.step + 1,
            trainable=moved,
            frozen=state.frozen,
            ema=self._averaged(state.ema, moved, state.step),
            batch_stats=_choose(finite, batch_stats, state.batch_stats),
            optimizer=optimizer,
            key=state.key,
            learning_rate=state.learning_rate,
            sums=sums,
            skipped=state.skipped + ~finite,
        )
        new = self._in_place(new)
        told = {
            "loss": loss,
            "learning_rate": rate,
            "gradient_norm": norm,
            "sums": new.sums,
            "skipped": new.skipped,
        }
        return new, told

    def _update(
        self, state: TrainState, gradient: Params, norm: Array, finite: Array, rate: Float[Array, ""]
    ) -> tuple[Params, Any]:
        """Trainable parameters and state of the optimizer after an update; where it is not finite, those
        before."""
        rates = lambda name: rate * self._factor(name, state.step)  # noqa: E731
        if self._adamw is not None:
            return self._adamw.update(
                gradient, state.optimizer, state.trainable, norm=norm, finite=finite, rate=rates
            )
        update: Any = self.transform.update(gradient, state.optimizer, state.trainable)
        direction, optimizer = update
        moved = {
            name: leaf - (rates(name) * direction[name]).astype(leaf.dtype)
            for name, leaf in state.trainable.items()
        }
        return _choose(finite, moved, state.trainable), _choose(finite, optimizer, state.optimizer)

    def _factor(self, name: str, step: Int[Array, ""]) -> Any:
        """The multiplier of a parameter's rate; 0 while it is still to be set free."""
        if name not in self._begins:
            return self.multipliers[name]
        return self.multipliers[name] * (step >= self._begins[name])

    def _averaged(self, ema: Params, moved: Params, step: Int[Array, ""]) -> Params:
        """The running average after an update; early on it follows quickly, so that the start is soon
        forgotten."""
        slow = jnp.minimum(self.optimizer.ema, (1 + step) / (10 + step))
        return {name: leaf + (1 - slow) * (moved[name] - leaf) for name, leaf in ema.items()}

    def _gradient(
        self, state: TrainState, batch: dict[str, Array], key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Any, Params, Params]:
        """Loss, metric counts, state of batch norms and gradient of a whole batch, in ``accumulate`` parts."""
        if self.private is not None:
            return self._noised_gradient(state, batch, key)

        def total_of(
            trainable: Params, batch_stats: Params, part: dict[str, Array], key: PRNGKeyArray
        ) -> tuple[Array, Any]:
            module = self.module({**trainable, **state.frozen, **batch_stats})
            total, weight, counts = self.task.loss(module, part, key)
            if self.accumulate == 1:
                total, weight = total / jnp.maximum(weight, LEAST_WEIGHT), jnp.ones(())
            return total, (weight, counts, flatten(nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))))

        differentiate = jax.value_and_grad(total_of, has_aux=True)
        if self.accumulate == 1:
            (loss, (_, counts, batch_stats)), gradient = differentiate(
                state.trainable, state.batch_stats, batch, key
            )
            return loss, counts, batch_stats, gradient
        cut = self._parts(batch)

        def one(batch_stats: Params, part: dict[str, Array], number: Array) -> tuple[Any, Params]:
            own = jax.random.fold_in(key, number)
            (total, (weight, counts, after)), gradient = differentiate(
                state.trainable, batch_stats, part, own
            )
            return (total, weight, counts, gradient), after

        def add(carry: Any, part: Any) -> tuple[Any, None]:
            new, after = one(carry[1], *part)
            return (jax.tree.map(jnp.add, carry[0], new), after), None

        empty, _ = jax.eval_shape(one, state.batch_stats, jax.tree.map(lambda x: x[0], cut), 0)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), empty)
        parts = (cut, jnp.arange(self.accumulate))
        ((total, weight, counts, gradient), batch_stats), _ = jax.lax.scan(
            add, (zeros, state.batch_stats), parts
        )
        weight = jnp.maximum(weight, LEAST_WEIGHT)
        return total / weight, counts, batch_stats, jax.tree.map(lambda leaf: leaf / weight, gradient)

    def _parts(self, batch: dict[str, Array]) -> dict[str, Array]:
        """A batch in ``accumulate`` parts, on a first axis."""
        # Example i goes to part i mod accumulate: every device cuts its own examples, none moves.
        return {
            name: x.reshape(-1, self.accumulate, *x.shape[1:]).swapaxes(0, 1) for name, x in batch.items()
        }

    def _noised_gradient(
        self, state: TrainState, batch: dict[str, Array], key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Any, Params, Params]:
        """As :meth:`_gradient`, by DP-SGD: gradients clipped row by row, summed, noised, and divided by the
        expected number of rows. Loss and counts are those of the rows that were drawn, without noise."""
        assert self.private is not None
        chance, noise = jax.random.split(key)

        def loss_of(trainable: Params, row: dict[str, Array], key: PRNGKeyArray) -> tuple[Array, Any]:
            module = self.module({**trainable, **state.frozen})
            total, weight, counts = self.task.loss(module, {name: x[None] for name, x in row.items()}, key)
            return total, (weight, counts)

        def clipped(row: dict[str, Array], key: PRNGKeyArray) -> tuple[Any, Params]:
            differentiate = jax.value_and_grad(loss_of, has_aux=True)
            (total, (weight, counts)), gradient = differentiate(state.trainable, row, key)
            return (total, weight, counts), self.private.clipped(gradient)

        def one(part: dict[str, Array], number: Array) -> tuple[Any, Params]:
            count = part["weight"].shape[0]
            keys = jax.random.split(jax.random.fold_in(chance, number), count)
            return jax.tree.map(lambda leaf: leaf.sum(0), jax.vmap(clipped)(part, keys))

        cut, numbers = self._parts(batch), jnp.arange(self.accumulate)
        first = jax.tree.map(lambda x: x[0], cut)
        zeros = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(one, first, numbers[0])
        )
        ((total, weight, counts), gradient), _ = jax.lax.scan(
            lambda carry, part: (jax.tree.map(jnp.add, carry, one(*part)), None), zeros, (cut, numbers)
        )
        return total / jnp.maximum(weight, LEAST_WEIGHT), counts, {}, self.private.noised(gradient, noise)

    def _multi_step(
        self, state: TrainState, batches: dict[str, Array], count: Int[Array, ""]
    ) -> tuple[TrainState, dict[str, Any]]:
        """The first ``count`` of the batches stacked on a first axis [k, …], one step each; returns k values
        per metric, of which the first ``count`` are valid, and the sums after the last step."""
        most = jax.tree.leaves(batches)[0].shape[0]

        def one(number: Array, carry: tuple[Any, ...]) -> Any:
            state, told = carry
            state, new = self._train(state, jax.tree.map(lambda x: x[number], batches))
            return state, {name: told[name].at[number].set(new[name]) for name in told}

        first = jax.tree.map(lambda x: x[0], batches)
        _, shapes = jax.eval_shape(self._train, state, first)
        told = {name: jnp.zeros((most,), leaf.dtype) for name, leaf in shapes.items() if name != "sums"}
        state, told = jax.lax.fori_loop(0, count, one, (state, told))
        state = self._in_place(state)
        return state, {**told, "sums": state.sums}

    def _in_place(self, state: TrainState) -> TrainState:
        """Outputs have the sharding of the inputs, so that they can be donated again."""
        if self.placement is None:
            return state
        return jax.lax.with_sharding_constraint(state, self.placement.state(state))

    def _evaluate(self, params: Params, sums: MetricState, batch: dict[str, Array]) -> MetricState:
        sums = sums.merge(self.task.loss(self.module(params), batch, None)[2])
        if self.placement is None:
            return sums
        return jax.lax.with_sharding_constraint(sums, self.placement.replicated)

    # --- compiling and calling --------------------------------------------------------------------------------

    def trace(self, kind: str, *args: object) -> jax.stages.Traced:
        """``kind`` traced for the shapes of ``args`` (arrays or their shapes): its ``jaxpr``, and
        ``lower()``."""
        return self._jitted[kind].trace(*args)

    def lower(self, kind: str, *args: object) -> jax.stages.Lowered:
        """``kind`` lowered for the shapes of ``args``, ready to be analysed or compiled."""
        return self.trace(kind, *args).lower()

    def compile(self, kind: str, *args: Any) -> Any:
        """The compiled step ``kind`` for the shapes of ``args``; made at the first call for these shapes."""
        batch = args[-1] if kind == "evaluate" else args[1]
        key = tuple((name, x.shape, str(x.dtype)) for name, x in batch.items())
        known = self._compiled[kind]
        if key not in known:
            begin, hits, options = time.monotonic(), cache_hits(), compiler_options()
            programs, name = self._programs(options), (kind, key)
            shared = name in programs
            if not shared:
                programs[name] = self.lower(kind, *args).compile(compiler_options=options or None)
            if known:
                self.reasons.append(why(map(_signature, known), _signature(key)))
            known[key] = programs[name]
            self.compilations += kind != "evaluate"
            self.from_cache += kind != "evaluate" and (shared or cache_hits() > hits)
            self.compile_seconds += time.monotonic() - begin
        return known[key]

    def _programs(self, options: dict[str, Any]) -> dict[Any, Any]:
        """The compiled programs of this step and of equal ones of other runs of this process."""
        if (
            self.placement is not None
            or self.private is not None
            or optimizers.target(self.optimizer.algorithm)
        ):
            return {}
        parts = {
            "task": self.task,
            "model": self.model,
            "optimizer": self.optimizer,
            "multipliers": self.multipliers,
            "begins": self._begins,
            "parameters": (self._tree, self._shapes, self._batch_stats),
            "steps": (self.total, self.report_every, self.accumulate),
            "options": options,
        }
        return programs_of(parts, self.graph)

    def train(self, state: TrainState, batch: dict[str, Array]) -> tuple[TrainState, dict[str, Any]]:
        """One update. ``state`` is donated: use the one returned."""
        return self.compile("train", state, batch)(state, batch)

    def multi_step(
        self, state: TrainState, batches: dict[str, Array], count: Int[Array, ""]
    ) -> tuple[TrainState, dict[str, Any]]:
        """``count`` updates in one call (see :meth:`_multi_step`). ``state`` is donated."""
        return self.compile("multi_step", state, batches, count)(state, batches, count)

    def evaluate(self, params: Params, sums: MetricState, batch: dict[str, Array]) -> MetricState:
        """Add a batch to the metric sums (donated)."""
        return self.compile("evaluate", params, sums, batch)(params, sums, batch)


def _between(layer: int | np.ndarray, top: int) -> bool:
    """Whether any of these layers is between the embeddings and the head."""
    return bool(np.any((np.asarray(layer) > 0) & (np.asarray(layer) < top)))


def _like(values: int | np.ndarray, leaf: Array | jax.ShapeDtypeStruct) -> np.ndarray:
    """One number, or one a layer, broadcastable to a parameter."""
    values = np.asarray(values)
    return values.reshape(values.shape + (1,) * (len(leaf.shape) - values.ndim)) if values.ndim else values


def _signature(key: Iterable[tuple[str, tuple[int, ...], str]]) -> Signature:
    return {name: (shape, dtype, "") for name, shape, dtype in key}


def _choose(condition: Array, new: PyTree[Array], old: PyTree[Array]) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
