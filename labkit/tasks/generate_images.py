"""Image generation by flow matching (Lipman et al. 2023, arXiv 2210.02747; Liu et al. 2023, arXiv 2209.03003).

A model learns the velocity of the straight path from noise to a picture; solving the differential equation from noise
on makes new pictures. Classes are a condition that is left out for some training examples, which classifier-free
guidance needs (Ho & Salimans 2022, arXiv 2207.12598).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Num

from labkit.core.config import option
from labkit.core.errors import DataError
from labkit.core.shapes import Array, Float, Int, PRNGKeyArray
from labkit.data.batching.arrays import stack
from labkit.data.rows import Rows
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.models import layers
from labkit.models.base import Capability, Modality, ModelConfig
from labkit.profile.activations import Activations
from labkit.tasks.augment import augment
from labkit.tasks.base import Batch, Head, MetricState, ProblemType, Task
from labkit.tasks.metrics import mean_loss

#: Golden ratio - 1: its multiples spread times evenly.
GOLDEN = 0.6180339887


@dataclass(frozen=True)
class GenerateImages(Task):
    """Settings of image generation. The rows are pictures; their classes, where they have any, are a condition."""

    modalities: ClassVar[tuple[Modality, ...]] = (Modality.IMAGE,)
    needs: ClassVar[Capability] = Capability.VELOCITY
    class_condition: ClassVar[bool] = True
    shown: ClassVar[tuple[str, ...]] = ("class_dropout", "augment")
    applies: ClassVar[Mapping[str, tuple[Modality, ...]]] = {}
    reading: ClassVar[tuple[str, ...]] = ()

    class_dropout: float = option(
        0.1,
        _("Fraction of training examples without their class, for classifier-free guidance."),
        low=0.0,
        high=0.9,
    )
    augment: str = option(
        "none", _("Random augmentation of pictures during training."), choices=("none", "flip")
    )

    def for_rows(self, rows: Rows) -> Self:
        """The same. Raises :class:`DataError` for labels that are no condition, and for pixels outside 0 … 1."""
        if rows.schema.problem_type != ProblemType.CLASS:
            raise DataError(
                _("image generation takes one class for each picture, or none; these rows have {problem_type}. Load "
                  "them with label=False, or with a column of classes."),
                problem_type=str(rows.schema.problem_type),
            )  # fmt: skip
        inputs = stack(rows["train"], rows.spec).inputs
        low, high = (float(inputs.min()), float(inputs.max())) if len(inputs) else (0.0, 1.0)
        if inputs.dtype != np.uint8 and not 0 <= low <= high <= 1:
            raise DataError(
                _("the pixels are numbers of {low:g} to {high:g}; image generation takes bytes, or numbers of 0 to 1."),
                low=low, high=high,
            )  # fmt: skip
        return self

    def build(
        self,
        classes: tuple[str, ...],
        labels: np.ndarray,
        tokenizer: Tokenizer | None = None,
        target: np.ndarray | None = None,
    ) -> VelocityField:
        """The head for the classes of the training pictures.

        Raises:
            DataError: some pictures have a class and some have none.
        """
        if classes and (missing := int((labels < 0).sum())):
            raise DataError(
                _("{n} of {total} training pictures have no class: drop them, or load all with label=False."),
                n=missing, total=len(labels),
            )  # fmt: skip
        return self.restore(classes, tokenizer)

    def restore(self, classes: tuple[str, ...], tokenizer: Tokenizer | None = None) -> VelocityField:
        """The head of a model that is trained already."""
        return VelocityField(self, classes=classes)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class VelocitySums(MetricState):
    """Sums over pictures."""

    loss_sum: Float[Array, ""]  # sum of weight * mean squared error of the velocity
    weight: Float[Array, ""]  # sum of weights
    denoised_sum: Float[
        Array, ""
    ]  # sum of weight * mean squared error of the picture that the velocity leads to

    @classmethod
    def empty(cls) -> Self:
        """The sums over no pictures."""
        return cls(*(jnp.zeros((), jnp.float32) for _part in range(3)))

    def compute(self) -> dict[str, float]:
        """``loss``: the mean squared error of the velocity, over pixels and times; ``mse``: that of the picture to
        which it leads from the noisy one, pixels as -1 … 1."""
        host = jax.device_get(self)
        denoised = float(host.denoised_sum) / float(host.weight) if host.weight > 0 else float("nan")
        return {"loss": mean_loss(host), "mse": denoised}


class Generator(nnx.Module):
    """A backbone that computes a velocity, and a vector of each class; the last one is of no class."""

    def __init__(self, backbone: nnx.Module, width: int, classes: int, rngs: nnx.Rngs):
        self.backbone: Any = backbone
        self.head = layers.embed(classes + 1, width, rngs, 0.02)

    def __call__(
        self, x: Float[Array, "b y x c"], time: Float[Array, " b"], label: Int[Array, " b"],
        *, key: PRNGKeyArray | None = None,
    ) -> Float[Array, "b y x c"]:  # fmt: skip
        """The velocity of noisy pictures at a time of 0 … 1, of classes by number."""
        return self.backbone(x, time, self.head(label), key=key)


@dataclass(frozen=True, eq=False)
class VelocityField(Head):
    """The vectors of the classes; ``classes`` are their names."""

    config: GenerateImages

    train_metrics: ClassVar[tuple[str, ...]] = ("mse",)

    def init(self, model: ModelConfig, rngs: nnx.Rngs) -> Generator:
        """The model of config ``model`` with new vectors of the classes."""
        return Generator(model.build(rngs), model.width, len(self.classes), rngs)

    def empty(self) -> VelocitySums:
        """The metric sums over no examples."""
        return VelocitySums.empty()

    def activations(self, model: ModelConfig, batch: Mapping[str, Any]) -> Activations | None:
        """What the loss of a batch computes and keeps, by formula; None where the model has none."""
        return model.activations(batch)

    def loss(
        self, module: Generator, batch: Batch, key: PRNGKeyArray | None
    ) -> tuple[Float[Array, ""], Float[Array, ""], VelocitySums]:
        """The squared error of the velocity at one time of each picture: the mean over its pixels, summed over
        pictures, each times its weight; the sum of weights; and the sums to report.

        In training the times are the logistic function of normal numbers, which are often in the middle (Esser et al.
        2024, arXiv 2403.03206). In evaluation noise and time of a picture are the same every time, so that losses can
        be compared.
        """
        inputs, weight = batch["inputs"], batch["weight"]
        rows, label = len(inputs), batch["label"] if self.classes else jnp.zeros(len(inputs), jnp.int32)
        if key is None:
            numbers = jnp.maximum(batch["index"], 0)
            noise = jax.vmap(lambda n: jax.random.normal(fixed(n), inputs.shape[1:]))(numbers)
            time, dropout_key = (0.5 + GOLDEN * numbers.astype(jnp.float32)) % 1.0, None
        else:
            noise_key, time_key, drop_key, change_key, dropout_key = jax.random.split(key, 5)
            if self.config.augment != "none":
                inputs = augment(inputs, self.config.augment, change_key)
            noise = jax.random.normal(noise_key, inputs.shape)
            time = jax.nn.sigmoid(jax.random.normal(time_key, (rows,)))
            dropped = jax.random.bernoulli(drop_key, self.config.class_dropout, (rows,))
            label = jnp.where(dropped, len(self.classes), label)
        clean = signed(inputs)
        part = time[:, None, None, None]
        found = module((1 - part) * noise + part * clean, time, label, key=dropout_key)
        error = jnp.mean((found.astype(jnp.float32) - (clean - noise)) ** 2, (1, 2, 3))
        total = jnp.sum(jnp.where(weight > 0, error * weight, 0))
        denoised = jnp.sum(jnp.where(weight > 0, (1 - time) ** 2 * error * weight, 0))
        sums = VelocitySums(total, jnp.sum(weight), denoised)
        return total, sums.weight, sums

    def guided(
        self, module: Any, x: Float[Array, "b y x c"], time: Float[Array, ""], label: Int[Array, " b"],
        guidance: Float[Array, ""],
    ) -> Float[Array, "b y x c"]:  # fmt: skip
        """The velocity with classifier-free guidance: that of no class, and ``guidance`` times the way from it to that
        of the class; 1 is the class without guidance."""
        nothing = jnp.full_like(label, len(self.classes))
        if not self.classes:
            return module(x, jnp.full(len(x), time), nothing).astype(jnp.float32)
        times = jnp.full(2 * len(x), time)
        both = module(jnp.concatenate([x, x]), times, jnp.concatenate([nothing, label])).astype(jnp.float32)
        without, with_class = jnp.split(both, 2)
        return without + guidance * (with_class - without)

    def sample(
        self, module: Any, noise: Float[Array, "b y x c"], label: Int[Array, " b"],
        guidance: Float[Array, ""], steps: int, film: bool = False,
    ) -> Float[Array, "n b y x c"]:  # fmt: skip
        """Pictures from noise by Heun's method, in about -1 … 1. The last step is Euler's, since training hardly sees
        the time 1.

        Returns:
            The pictures, n = 1; with ``film`` the noise and the pictures after each step, n = steps + 1.
        """
        grid = jnp.linspace(0.0, 1.0, steps + 1)

        def step(x: Array, span: tuple[Array, Array]) -> tuple[Array, Array | None]:
            now, then = span
            first = self.guided(module, x, now, label, guidance)
            second = self.guided(module, x + (then - now) * first, then, label, guidance)
            x = x + (then - now) * 0.5 * (first + second)
            return x, x if film else None

        x, frames = jax.lax.scan(step, noise, (grid[:-2], grid[1:-1]))
        x = x + (grid[-1] - grid[-2]) * self.guided(module, x, grid[-2], label, guidance)
        return jnp.concatenate([noise[None], frames, x[None]]) if frames is not None else x[None]


def fixed(number: Int[Array, ""]) -> PRNGKeyArray:
    """The key of a picture by its number, the same in every evaluation."""
    return jax.random.fold_in(jax.random.key(0), number)


def signed(inputs: Num[Array, "b y x c"]) -> Float[Array, "b y x c"]:
    """Pictures as -1 … 1: of bytes, or of numbers 0 … 1."""
    scale = 255 if inputs.dtype == jnp.uint8 else 1
    return inputs.astype(jnp.float32) * (2 / scale) - 1
