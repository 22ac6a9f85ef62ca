"""Optimizer, learning rate schedule and trainable parameters."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib

from labkit.core.config import Config, option
from labkit.core.errors import ConfigError
from labkit.core.registry import Registry
from labkit.core.shapes import Array, Float, Int
from labkit.i18n import _
from labkit.models.layers import ADDED
from labkit.train.adamw import AdamW

#: Depth of a parameter: 0 for embeddings, 1 … L inside the backbone (an array for stacked layers), above that
#: the head.
LayerOf = Callable[[str], "int | np.ndarray"]


#: Update rules. An entry is a function that returns an ``optax.GradientTransformation`` from gradients to
#: directions, not yet multiplied by the learning rate, as ``optax.scale_by_adam`` does; schedule, weight
#: decay and clipping are labkit's. Its parameters are settings of :class:`Optimizer` (``beta1``, ``momentum``
#: …) or have defaults.
optimizers = Registry(
    _("optimizer"),
    {
        "adamw": "labkit.train.optimizer:adamw",
        "lion": "labkit.train.optimizer:lion",
        "adafactor": "labkit.train.optimizer:adafactor",
        "sgd": "labkit.train.optimizer:sgd",
        "muon": "labkit.train.optimizer:muon",
    },
    kind="optimizers",
)
#: How much of a model moves: everything, the head alone, biases and the head, or low-rank additions and the
#: head.
TUNES = ("full", "head", "bitfit", "lora")
SCHEDULES = ("linear", "cosine", "constant", "one-cycle", "wsd", "inverse-sqrt")
#: First and last rate of one cycle, as shares of the greatest (those of fastai).
ONE_CYCLE = (1 / 25, 1e-5)


@dataclass(frozen=True)
class Optimizer(Config):
    """The optimizer, its learning-rate schedule, and which parameters it trains.

    ``algorithm``: AdamW (Loshchilov & Hutter, arXiv 1711.05101), Lion (Chen et al., arXiv 2302.06675),
    Adafactor (Shazeer & Stern, arXiv 1804.04235; without its own schedule), SGD with Nesterov's momentum, or
    Muon (Jordan et al. 2024) for the matrices between embeddings and head, with AdamW for the rest.

    ``trainable``: "full"; "head": the layers above the backbone, a pooler with them; "bitfit": biases and the
    head (Ben Zaken et al., arXiv 2106.10199); "lora": low-rank matrices beside the linear layers, and the
    head (Hu et al., arXiv 2106.09685); the second factor may have a higher rate than the first (LoRA+, Hayou
    et al., arXiv 2402.12354).

    ``schedule``: after the warm-up the rate falls in a line, by a half cosine, as 1 / sqrt(step), or not at
    all; "wsd" keeps it and lets it fall in the last part, by 1 - sqrt (Hägele et al., arXiv 2405.18392);
    "one-cycle" rises and falls by half cosines (Smith, arXiv 1803.09820).
    """

    learning_rate: float | None = option(
        None, _("Peak learning rate, reached after the warm-up. Default: that of the model."), low=0.0
    )
    schedule: str = option("linear", _("Learning rate schedule after the warm-up."), choices=SCHEDULES)
    warmup: float = option(0.1, _("Fraction of all steps for linear warm-up from 0."), low=0.0, high=1.0)
    decay: float = option(0.2, _("wsd: fraction of all steps for the final decay."), low=0.0, high=1.0)
    algorithm: str = option("adamw", _("Optimizer (update rule)."), choices=optimizers)
    weight_decay: float = option(
        0.01, _("Decoupled weight decay; not applied to biases and normalisation parameters."), low=0.0
    )
    clip: float = option(1.0, _("Gradient clipping: maximum global norm. 0: off."), low=0.0)
    momentum: float = option(0.9, _("SGD: momentum (Muon uses 0.95)."), low=0.0, high=0.9999)
    beta1: float = option(
        0.9, _("Exponential decay rate of the first moment (mean of the gradients)."), low=0.0, high=0.9999
    )
    beta2: float = option(
        0.999,
        _("Exponential decay rate of the second moment (mean of the squared gradients)."),
        low=0.0,
        high=0.99999,
    )
    epsilon: float = option(
        1e-8, _("Added to the denominator of the update for numerical stability."), low=0.0
    )
    ema: float = option(
        0.0,
        _(
            "Decay of the exponential moving average (EMA) of the parameters; the average is evaluated "
            "and saved. 0: off."
        ),
        low=0.0,
        high=0.99999,
    )
    trainable: str = option(
        "full",
        _(
            "Parameters to train. full: all; head: the output head; bitfit: biases and head; lora: LoRA "
            "adapters and head."
        ),
        choices=TUNES,
    )
    lora_rank: int = option(8, _("LoRA: rank of the adapters."), low=1, high=65_536)
    lora_alpha: float = option(16.0, _("LoRA: scaling; adapters are multiplied by alpha / rank."), low=0.0)
    lora_ratio: float = option(
        1.0, _("LoRA+: learning rate of matrix B (initialised to zero) divided by that of matrix A."), low=1.0
    )
    lora_targets: tuple[str, ...] | None = option(
        None, _("LoRA: linear layers with an adapter, as name patterns. Default: those of the model.")
    )
    layer_decay: float = option(
        1.0,
        _("Layer-wise learning rate decay: rate of a layer divided by that of the layer above. 1: off."),
        low=0.0,
        high=1.0,
    )
    unfreeze: float = option(
        0.0,
        _("Gradual unfreezing: fraction of the run over which layers are unfrozen from the head down. 0: off."),
        low=0.0, high=1.0,
    )  # fmt: skip
    freeze: tuple[str, ...] = option((), _("Parameters to freeze, as name patterns such as backbone/*."))
    freeze_layers: int = option(
        0, _("Freeze the embeddings and this many of the lowest layers. 0: none."), low=0, high=10_000
    )

    def shape(self, step: Int[Array, "*s"], total: int) -> Float[Array, "*s"]:
        """The schedule's factor, 0 … 1, for the update that follows ``step`` updates out of ``total``."""
        rise = max(1, round(self.warmup * total)) if self.warmup else 0
        up = (step + 1) / max(rise, 1)
        along = jnp.clip((step - rise) / max(total - rise, 1), 0.0, 1.0)
        half = 0.5 * (1 + jnp.cos(np.pi * along))
        if self.schedule == "one-cycle":
            first, last = ONE_CYCLE
            up = first + (1 - first) * 0.5 * (1 - jnp.cos(np.pi * jnp.minimum(up, 1.0)))
            down = last + (1 - last) * half
        elif self.schedule == "wsd":
            fall = max(1, round(self.decay * total))
            down = 1 - jnp.sqrt(jnp.clip((step - (total - fall)) / fall, 0.0, 1.0))
        elif self.schedule == "inverse-sqrt":
            down = jnp.sqrt(max(rise, 1) / jnp.maximum(step + 1, max(rise, 1)))
        else:
            down = {"linear": 1 - along, "cosine": half, "constant": jnp.ones_like(along)}[self.schedule]
        return jnp.where(step < rise, up, down).astype(jnp.float32)

    def rates(self, total: int) -> np.ndarray:
        """The learning rate of every update, f32[total], to be plotted before use; as a fraction of the
        greatest one where that is left to the model."""
        greatest = 1.0 if self.learning_rate is None else self.learning_rate
        return np.asarray(greatest * self.shape(jnp.arange(total), total))

    def begins(self, layer: int | np.ndarray, top: int, total: int) -> np.ndarray:
        """The update with which a layer starts to move where layers are set free one after the other, from
        the head (``top``) at 0 down (Howard & Ruder, arXiv 1801.06146)."""
        return np.asarray(np.rint((top - np.asarray(layer)) / max(top, 1) * self.unfreeze * total), np.int32)

    def multipliers(
        self, shapes: Mapping[str, tuple[int, ...]], layer_of: LayerOf, top: int
    ) -> dict[str, np.ndarray]:
        """Factor on the learning rate of every parameter, f32, broadcastable to it; 0 where it is frozen.

        Args:
            shapes: parameter name → shape.
            layer_of: parameter name → its depth (see :data:`LayerOf`).
            top: depth of the head.

        Raises:
            ConfigError: a ``freeze`` pattern matches no parameter, or nothing is left to train.
        """
        for pattern in self.freeze:
            if not fnmatch.filter(shapes, pattern):
                raise ConfigError(
                    _("Optimizer.freeze: {pattern!r} matches no parameter. Parameters: {shapes}."),
                    pattern=pattern,
                    shapes=", ".join(shapes),
                )
        result = {name: self._multiplier(name, shape, layer_of(name), top) for name, shape in shapes.items()}
        if not any(factor.any() for factor in result.values()):
            raise ConfigError(_("Optimizer: every parameter is frozen; nothing is left to train."))
        return result

    def _multiplier(self, name: str, shape: tuple[int, ...], layer: int | np.ndarray, top: int) -> np.ndarray:
        layer, last = np.asarray(layer), name.rsplit("/", 1)[-1]
        factor = np.float32(self.layer_decay) ** (top - layer).astype(np.float32)
        frozen = any(fnmatch.fnmatch(name, pattern) for pattern in self.freeze)
        kept = (layer > self.freeze_layers) if self.freeze_layers else np.ones_like(layer, bool)
        if (
            (self.trainable == "bitfit" and last != "bias")
            or (self.trainable == "lora" and last not in ADDED)
            or self.trainable == "head"
        ):
            kept = kept & (layer >= top)
        if last == "lora_b":
            factor = factor * np.float32(self.lora_ratio)
        factor = np.where(kept & (not frozen), factor, 0.0).astype(np.float32)
        return factor.reshape(factor.shape + (1,) * (len(shape) - factor.ndim)) if factor.ndim else factor

    def build(
        self, decayed: Mapping[str, bool], orthogonal: Collection[str] = ()
    ) -> optax.GradientTransformation:
        """The transformation from gradients to directions; the step multiplies them by the learning rate.

        Args:
            decayed: parameter name → whether weight decay applies to it.
            orthogonal: for Muon: the names of the matrices [..., n, m] that it is for.
        """
        parts = [optax.clip_by_global_norm(self.clip)] if self.clip else []
        parts.append(self._direction(decayed, orthogonal))
        if self.weight_decay:
            parts.append(optax.add_decayed_weights(self.weight_decay, mask=dict(decayed)))
        return optax.chain(*parts)

    def fused_adamw(self, decayed: Mapping[str, bool]) -> AdamW | None:
        """The same update in few passes over memory, where the rule is AdamW; it shares the state of
        :meth:`build`."""
        if optimizers[self.algorithm] is not adamw:
            return None
        decay = {name: self.weight_decay * decays for name, decays in decayed.items()}
        return AdamW(self.beta1, self.beta2, self.epsilon, self.clip, decay)

    def _direction(self, names: Iterable[str], orthogonal: Collection[str]) -> optax.GradientTransformation:
        """The transformation of the update rule. Raises :class:`ConfigError` for one that is none."""
        factory = optimizers[self.algorithm]
        values = {**self.values(), "names": tuple(names), "orthogonal": orthogonal}
        wanted = inspect.signature(factory).parameters.values()
        if unknown := [
            each.name for each in wanted if each.name not in values and each.default is each.empty
        ]:
            raise ConfigError(
                _("optimizer {algorithm!r}: {parameter!r} is no setting of Optimizer; give it a default value."),
                algorithm=self.algorithm, parameter=unknown[0],
            )  # fmt: skip
        made = factory(**{each.name: values[each.name] for each in wanted if each.name in values})
        if optimizers.target(self.algorithm):
            self._check_direction(made)
        return made

    def _check_direction(self, made: object) -> None:
        """Raise :class:`ConfigError` where a rule of one's own gives no directions along the gradient."""
        if not isinstance(made, optax.GradientTransformation):
            raise ConfigError(
                _("optimizer {algorithm!r} returns a {type}; it must be an optax.GradientTransformation."),
                algorithm=self.algorithm, type=type(made).__name__,
            )  # fmt: skip
        params = {"probe/kernel": jnp.ones((2, 2), jnp.float32)}
        update: Any = made.update(params, made.init(params), params)[0]
        if float(update["probe/kernel"].sum()) < 0:
            raise ConfigError(
                _("optimizer {algorithm!r} gives updates against the gradient, as optax.adam(learning_rate) "
                  "does. labkit subtracts learning_rate times the direction itself: return optax.scale_by_adam() or "
                  "the like."),
                algorithm=self.algorithm,
            )  # fmt: skip


def adamw(beta1: float, beta2: float, epsilon: float) -> optax.GradientTransformation:
    """Adam (Kingma & Ba, arXiv 1412.6980); with the decoupled weight decay of labkit it is AdamW."""
    return optax.scale_by_adam(beta1, beta2, epsilon)


def lion(beta1: float, beta2: float) -> optax.GradientTransformation:
    """The sign of a mean of gradients."""
    return optax.scale_by_lion(beta1, beta2)


def adafactor() -> optax.GradientTransformation:
    """As ``optax.adafactor`` has it, but for the rate, which the step knows."""
    return optax.chain(
        optax.scale_by_factored_rms(), optax.clip_by_block_rms(1.0), optax.scale_by_param_block_rms()
    )


def sgd(momentum: float) -> optax.GradientTransformation:
    """The gradient, with Nesterov's momentum."""
    return optax.trace(momentum, nesterov=True) if momentum else optax.identity()


def muon(
    names: Iterable[str], orthogonal: Collection[str], beta1: float, beta2: float, epsilon: float
) -> optax.GradientTransformation:
    """Muon for matrices on the last two axes, any others being matrices of their own; Adam for the rest.

    Its steps are made as large as those of Adam, 0.2 sqrt(greater side) (Liu et al., arXiv 2502.16982), so
    one learning rate serves both.
    """

    def matrices(params: Any) -> Any:
        two = lambda leaf: contrib.MuonDimensionNumbers(leaf.ndim - 2, leaf.ndim - 1)  # noqa: E731
        return jax.tree.map(two, params)

    scaled = contrib.scale_by_muon(weight_dimension_numbers=matrices)
    resize = optax.stateless(
        lambda updates, _: jax.tree.map(lambda u: u * (0.2 * max(u.shape[-2:]) ** 0.5), updates)
    )
    kinds = {name: "muon" if name in orthogonal else "adam" for name in names}
    return optax.partition({"muon": optax.chain(scaled, resize), "adam": adamw(beta1, beta2, epsilon)}, kinds)


def decays(name: str) -> bool:
    """Weight decay is for matrices and tables; biases, the scales of norms and low-rank additions are spared."""
    return name.rsplit("/", 1)[-1] in ("kernel", "embedding")
