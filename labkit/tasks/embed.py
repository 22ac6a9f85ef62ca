"""Sentence embeddings: contrastive training with in-batch negatives.

 The loss is InfoNCE over the batch (van den Oord et al. 2018, arXiv 1807.03748) as sentence encoders are
trained with it (Reimers & Gurevych 2019, arXiv 1908.10084; Gao et al. 2021, arXiv 2104.08821).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.config import option
from labkit.core.shapes import Array, Float, Int
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.models import weights
from labkit.models.base import Capability, ModelConfig
from labkit.profile.activations import Activations, linear_head
from labkit.tasks.base import (
    Batch,
    ExampleFormat,
    Head,
    MetricState,
    Task,
    tokenizer_option,
    vectors,
    vocabulary_option,
)
from labkit.tasks.metrics import mean_loss


@dataclass(frozen=True)
class Embed(Task):
    """Settings of sentence embedding. The rows are pairs of texts that belong together; or single texts, each
    then paired with itself, which dropout makes a different one (Gao et al. 2021)."""

    needs: ClassVar[Capability] = Capability.BIDIRECTIONAL
    pooled_vectors: ClassVar[bool] = True
    shown: ClassVar[tuple[str, ...]] = ("max_length", "temperature")

    max_length: int | None = option(
        None,
        _(
            "Maximum text length in tokens; longer texts are truncated and counted. Default: chosen from the data."
        ),
        low=8,
        high=1_000_000,
    )
    temperature: float = option(
        0.05,
        _("Temperature of the contrastive loss: cosine similarities are divided by it before the softmax."),
        low=0.001,
    )
    vocabulary: int = vocabulary_option()
    tokenizer: str = tokenizer_option()

    @property
    def example_format(self) -> ExampleFormat:
        """How rows become examples."""
        return ExampleFormat.TWO_TEXTS

    def restore(self, classes: tuple[str, ...], tokenizer: Tokenizer | None = None) -> Embedding:
        """The head; it depends on no data."""
        return Embedding(self)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class PairSums(MetricState):
    """Sums over pairs."""

    loss_sum: Float[Array, ""]  # sum of weight * loss
    weight: Float[Array, ""]  # sum of weights
    right: Int[Array, ""]  # texts whose nearest one of the batch is their own partner
    pairs: Int[Array, ""]  # pairs with a weight above 0
    cosine: Float[Array, ""]  # sum of the cosines of partners

    @classmethod
    def empty(cls) -> Self:
        """The sums over no pairs."""
        nothing, none = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)
        return cls(nothing, nothing, none, none, nothing)

    def compute(self) -> dict[str, float]:
        """``loss``; ``accuracy``: how often a text's nearest one of its batch is its partner; ``cosine`` of
        partners. The first two depend on the batch size: compare runs of equal ones."""
        host, nan = jax.device_get(self), float("nan")
        count = int(host.pairs)
        return {"loss": mean_loss(host), "accuracy": int(host.right) / (2 * count) if count else nan,
                "cosine": float(host.cosine) / count if count else nan}  # fmt: skip


class Encoder(nnx.Module):
    """A backbone that makes one vector of a text; nothing on top."""

    def __init__(self, backbone: nnx.Module):
        self.backbone: Any = backbone

    def __call__(self, ids: Array, mask: Array, *, key: jax.Array | None = None) -> Float[Array, "b d"]:
        """Vectors of length 1."""
        return normalised(vectors(self.backbone, ids, mask, key=key))


def normalised(vectors: Float[Array, "b d"]) -> Float[Array, "b d"]:
    """Vectors made 1 long; zeros stay zeros, and so does their gradient."""
    return vectors * jax.lax.rsqrt(jnp.maximum(jnp.sum(vectors * vectors, axis=-1, keepdims=True), 1e-12))


@dataclass(frozen=True, eq=False)
class Embedding(Head):
    """Sentence embedding; there is no layer on top."""

    config: Embed

    train_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    @property
    def eval_metrics(self) -> tuple[str, ...]:
        """Metrics recorded of an evaluation."""
        return ("loss", "cosine", "accuracy")

    def init(self, model: ModelConfig, rngs: nnx.Rngs) -> Encoder:
        """The model of config ``model``."""
        return Encoder(model.build(rngs))

    def save(
        self, params: dict[str, np.ndarray], model: ModelConfig, folder: Path, specials: weights.Specials
    ) -> None:
        """Write the model of config ``model`` as a folder of sentence-transformers."""
        backbone = weights.backbone(params)
        model.save_embedder(backbone, folder, specials=specials, max_length=self.config.max_length)

    def check_loaded(self, report: weights.LoadReport) -> None:
        """Raise :class:`WeightsError` where pretrained weights lack the pooler: the vectors would be random."""
        report.check_whole()

    def empty(self) -> PairSums:
        """The metric sums over no examples."""
        return PairSums.empty()

    def activations(self, model: ModelConfig, batch: Mapping[str, Any]) -> Activations | None:
        """What the loss of a batch computes and keeps, by formula; None where the model has none."""
        sides = [model.vector_activations({"ids": batch[name]}) for name in ("ids", "target_ids")]
        rows = batch["ids"].shape[0]
        return (
            sides[0] and sides[1] and sides[0] + sides[1] + linear_head(rows, model.output_width, rows, False)
        )

    def loss(
        self, module: Encoder, batch: Batch, key: jax.Array | None
    ) -> tuple[Float[Array, ""], Float[Array, ""], PairSums]:
        """Cross-entropy of finding the partner among the batch, from both sides: the sum over pairs, each
        times its weight; the sum of weights; and the sums to report. Filler is nobody's partner."""
        keys = (None, None) if key is None else jax.random.split(key)
        one = module(batch["ids"], batch["mask"], key=keys[0])
        two = module(batch["target_ids"], batch["target_mask"], key=keys[1])
        weight = batch["weight"]
        real = weight > 0
        cosines = one @ two.T
        scores = cosines / self.config.temperature
        own, nobody = jnp.arange(len(one)), jnp.finfo(jnp.float32).min
        losses, right = jnp.zeros(len(one)), jnp.zeros((), jnp.int32)
        for side in (scores, scores.T):
            side = jnp.where(real[None, :] | (own[:, None] == own), side, nobody)
            losses += 0.5 * (jax.nn.logsumexp(side, axis=1) - jnp.diagonal(side))
            right += jnp.sum((jnp.argmax(side, axis=1) == own) & real, dtype=jnp.int32)
        total = jnp.sum(losses * weight)
        near = jnp.sum(jnp.diagonal(cosines) * real)
        sums = PairSums(total, jnp.sum(weight), right, jnp.sum(real, dtype=jnp.int32), near)
        return total, sums.weight, sums
