"""Semantic segmentation: a class for every pixel of a picture (Long, Shelhamer & Darrell 2015, arXiv 1411.4038)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.config import option
from labkit.core.errors import ConfigError, DataError
from labkit.core.shapes import Array, Bool, Float, Int
from labkit.data.masks import UNKNOWN, class_pixels
from labkit.data.rows import Rows
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.models.base import Capability, Modality, ModelConfig
from labkit.profile.activations import Activations, linear_head
from labkit.tasks.augment import KINDS, augment_masked
from labkit.tasks.base import Batch, ExampleFormat, Head, MetricState, Task
from labkit.tasks.metrics import mean_loss

#: Classes whose IoU is recorded while training.
SINGLE = 20
#: Pixels are counted in two numbers: those below 2**BITS, and how often that was reached.
BITS = 24


@dataclass(frozen=True)
class Segment(Task):
    """Settings of semantic segmentation. The rows are pictures with a mask: a class for every pixel."""

    modalities: ClassVar[tuple[Modality, ...]] = (Modality.IMAGE,)
    needs: ClassVar[Capability] = Capability.PIXELS
    needs_masks: ClassVar[bool] = True
    fresh_batch: ClassVar[int] = 16
    shown: ClassVar[tuple[str, ...]] = ("class_weights", "dice", "augment")
    applies: ClassVar[Mapping[str, tuple[Modality, ...]]] = {}
    reading: ClassVar[tuple[str, ...]] = ()

    class_weights: str = option(
        "none",
        _("balanced: weight the loss of each pixel inversely to the frequency of its class. root: to its square root, "
          "which finds rare classes with fewer false alarms."),
        choices=("none", "balanced", "root"),
    )  # fmt: skip
    loss_weights: tuple[float, ...] = option(
        (), _("Weight of each class in the loss, in their order. Default: by class_weights.")
    )
    dice: float = option(
        0.0,
        _("Weight of the soft Dice loss, which is added to the cross-entropy: the overlap of each class counts alike, "
          "however few pixels it has. 0: off."),
        low=0.0, high=100.0,
    )  # fmt: skip
    augment: str = option(
        "none", _("Random augmentation of pictures together with their masks during training."), choices=KINDS
    )

    def check(self) -> None:
        """Raise :class:`ConfigError` for weights that are not positive."""
        super().check()
        if not all(0 < each < float("inf") for each in self.loss_weights):
            raise ConfigError(
                _("loss_weights = {weights} must be positive numbers."), weights=self.loss_weights
            )

    @property
    def example_format(self) -> ExampleFormat:
        """How rows become examples."""
        return ExampleFormat.MASKS

    def for_rows(self, rows: Rows) -> Self:
        """The same with the weights of the classes by their training pixels, where they were left to them.

        Raises:
            ConfigError: there are not as many weights as classes.
        """
        classes = rows.schema.mask_classes
        if self.loss_weights and classes and len(self.loss_weights) != len(classes):
            raise ConfigError(
                _("loss_weights = {weights} are {count}; the masks have the classes {classes}."),
                weights=self.loss_weights, count=len(self.loss_weights), classes=", ".join(classes),
            )  # fmt: skip
        if self.loss_weights or self.class_weights == "none" or not classes or "train" not in rows.splits:
            return self
        pixels = class_pixels(rows["train"], len(classes))
        frequency = np.maximum(pixels, 1) / max(1, int(pixels.sum()))
        found = frequency ** (-0.5 if self.class_weights == "root" else -1.0)
        found = found / (found * frequency).sum()  # a pixel weighs 1 on average
        return self.replace(loss_weights=tuple(float(f"{each:.6g}") for each in found))

    def build(
        self,
        classes: tuple[str, ...],
        labels: np.ndarray,
        tokenizer: Tokenizer | None = None,
        target: np.ndarray | None = None,
    ) -> Segmentation:
        """The head for the classes of the training masks.

        Raises:
            DataError: there are fewer than two classes.
        """
        if len(classes) < 2:
            raise DataError(
                _("segmentation needs masks of at least two classes; the training rows have {classes}."),
                classes=", ".join(classes) or _("none"),
            )
        return self.restore(classes, tokenizer)

    def restore(self, classes: tuple[str, ...], tokenizer: Tokenizer | None = None) -> Segmentation:
        """The head of a model that is trained already: every class weighs 1."""
        return Segmentation(self, classes=classes)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SegmentationSums(MetricState):
    """Sums over the pixels whose class is known. ``pixels`` counts them by truth and prediction, exactly: pictures have
    more pixels than 32 bits count."""

    loss_sum: Float[Array, ""]  # sum of weight * loss
    weight: Float[Array, ""]  # sum of weights
    pixels: Int[Array, "2 k k"]  # below 2**BITS, and how often that was reached

    @classmethod
    def empty(cls, classes: int) -> Self:
        """The sums over no pixels."""
        nothing = jnp.zeros((), jnp.float32)
        return cls(nothing, nothing, jnp.zeros((2, classes, classes), jnp.int32))

    @classmethod
    def of(cls, loss_sum: Array, weight: Array, counts: Int[Array, "k k"]) -> Self:
        """The sums of a batch, whose pixels 32 bits count."""
        return cls(loss_sum, weight, carried(counts, jnp.zeros_like(counts)))

    def merge(self, other: Self) -> Self:
        """The sums over the pixels of both."""
        low, high = self.pixels + other.pixels
        return type(self)(self.loss_sum + other.loss_sum, self.weight + other.weight, carried(low, high))

    @property
    def confusion(self) -> np.ndarray:
        """Pixels i64[k, k] by truth (rows) and prediction (columns); for the host."""
        low, high = (part.astype(np.int64) for part in jax.device_get(self.pixels))
        return low + (high << BITS)

    def compute(self) -> dict[str, float]:
        """``loss``; ``miou``, the mean of ``iou/0``, ``iou/1`` … over the classes that occur or are predicted; and the
        ``accuracy`` of the pixels."""
        host = jax.device_get(self)
        confusion = self.confusion
        each = iou(confusion)
        total = confusion.sum()
        numbered = {f"iou/{number}": float(value) for number, value in enumerate(each[:SINGLE])}
        accuracy = float(np.trace(confusion) / total) if total else float("nan")
        return {"loss": mean_loss(host), "accuracy": accuracy, **numbered, "miou": mean_iou(each)}


def carried(low: Int[Array, "k k"], high: Int[Array, "k k"]) -> Int[Array, "2 k k"]:
    """Counts in two parts, the first below 2**BITS."""
    return jnp.stack([low & (2**BITS - 1), high + (low >> BITS)])


def iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union (Jaccard index) of every class f64[…, k] from pixels [..., k, k]; NaN for a class that
    neither occurs nor is predicted."""
    confusion = np.asarray(confusion, np.float64)
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    union = confusion.sum(-1) + confusion.sum(-2) - right
    return np.where(union > 0, right / np.maximum(union, 1), np.nan)


def mean_iou(each: np.ndarray) -> float:
    """The mean over the classes that have one; NaN where none has."""
    return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")


def soft_dice(
    logits: Float[Array, "b y x k"], truth: Int[Array, "b y x"], known: Bool[Array, "b y x"]
) -> Float[Array, ""]:
    """The mean over the classes of a batch of twice the overlap of probabilities and truth ÷ the sum of both
    (Milletari, Navab & Ahmadi 2016, arXiv 1606.04797), over the known pixels; one pixel is added to both.

    A class that no pixel of the batch has is left out: its term would teach never to predict a rare class.
    """
    chances = jax.nn.softmax(logits) * known[..., None]
    there = jax.nn.one_hot(truth, logits.shape[-1]) * known[..., None]
    overlap, true = 2 * jnp.sum(chances * there, (0, 1, 2)) + 1, jnp.sum(there, (0, 1, 2))
    each = overlap / (jnp.sum(chances, (0, 1, 2)) + true + 1)
    return jnp.sum(jnp.where(true > 0, each, 0)) / jnp.maximum(jnp.sum(true > 0), 1)


class PixelClassifier(nnx.Module):
    """A backbone that makes a vector of every pixel, and a linear layer with a score of each class."""

    def __init__(self, backbone: nnx.Module, width: int, classes: int, rngs: nnx.Rngs):
        self.backbone: Any = backbone
        initial = nnx.initializers.normal(0.02)
        self.head = nnx.Linear(width, classes, kernel_init=initial, rngs=rngs)

    def __call__(self, batch: Batch, *, key: jax.Array | None = None) -> Float[Array, "b y x k"]:
        """Logits of the classes."""
        real = batch["weight"] > 0
        return self.head(self.backbone(batch["inputs"], key=key, real=real).hidden).astype(jnp.float32)


@dataclass(frozen=True, eq=False)
class Segmentation(Head):
    """A linear layer that scores the classes of each pixel."""

    config: Segment

    monitor: ClassVar[str] = "miou"
    train_metrics: ClassVar[tuple[str, ...]] = ("accuracy", "miou")

    @property
    def eval_metrics(self) -> tuple[str, ...]:
        """The averages, and the IoU of the first 20 classes as ``iou/0``, ``iou/1`` …"""
        each = (f"iou/{number}" for number in range(min(len(self.classes), SINGLE)))
        return ("loss", "accuracy", *each, "miou")

    def init(self, model: ModelConfig, rngs: nnx.Rngs) -> PixelClassifier:
        """The model of config ``model`` with a new head."""
        return PixelClassifier(model.build(rngs), model.output_width, len(self.classes), rngs)

    def empty(self) -> SegmentationSums:
        """The metric sums over no examples."""
        return SegmentationSums.empty(len(self.classes))

    def activations(self, model: ModelConfig, batch: Mapping[str, Any]) -> Activations | None:
        """What the loss of a batch computes and keeps, by formula; None where the model has none."""
        found, (rows, high, wide) = model.activations(batch), batch["inputs"].shape[:3]
        return found and found + linear_head(rows * high * wide, model.output_width, len(self.classes), False)

    def loss(
        self, module: PixelClassifier, batch: Batch, key: jax.Array | None
    ) -> tuple[Float[Array, ""], Float[Array, ""], SegmentationSums]:
        """The cross-entropy of the pixels whose class is known: the sum, each times the weight of its class and of its
        picture; the sum of these weights; and the sums to report. With ``dice``, the sum has the Dice loss of the batch
        in addition, for every pixel alike.

        Augmentation is for training, with a ``key``: it moves a picture and its mask alike.
        """
        if key is not None and self.config.augment != "none":
            key, changes = jax.random.split(key)
            pair = augment_masked(batch["inputs"], batch["mask"], self.config.augment, changes)
            batch = {**batch, "inputs": pair[0], "mask": pair[1]}
        logits, mask = module(batch, key=key), batch["mask"].astype(jnp.int32)
        known = (mask != UNKNOWN) & (batch["weight"] > 0)[:, None, None]
        truth = jnp.where(known, mask, 0)
        weighs = jnp.asarray(self.config.loss_weights or (1.0,) * len(self.classes), jnp.float32)
        weight = jnp.where(known, weighs[truth] * batch["weight"][:, None, None], 0)
        chosen = jnp.take_along_axis(logits, truth[..., None], axis=-1)[..., 0]
        total = jnp.sum((jax.nn.logsumexp(logits, axis=-1) - chosen) * weight)
        if self.config.dice:
            total += self.config.dice * (1 - soft_dice(logits, truth, known)) * jnp.sum(weight)
        count = len(self.classes)
        place = truth * count + jnp.argmax(logits, axis=-1)
        pixels = (
            jnp.zeros(count * count, jnp.int32).at[place.reshape(-1)].add(known.reshape(-1).astype(jnp.int32))
        )
        sums = SegmentationSums.of(total, jnp.sum(weight), pixels.reshape(count, count))
        return total, sums.weight, sums

    def probabilities(self, module: PixelClassifier, batch: Batch) -> Float[Array, "b y x k"]:
        """Softmax over the classes of every pixel."""
        return jax.nn.softmax(module(batch))
