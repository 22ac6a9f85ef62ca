"""Recommendation: the next item of a user, from the items before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from labkit.core.config import option
from labkit.core.shapes import Array, Float
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.models.base import Capability, Modality, ModelConfig
from labkit.profile.activations import Activations
from labkit.tasks.base import Batch, ExampleFormat, Head, MetricState, Task
from labkit.tasks.token_metrics import TokenSums, token_logits, token_sums


@dataclass(frozen=True)
class Recommend(Task):
    """Settings of a recommendation."""

    modalities: ClassVar[tuple[Modality, ...]] = (Modality.INTERACTIONS,)
    needs: ClassVar[Capability] = Capability.NEXT_ITEM
    shown: ClassVar[tuple[str, ...]] = ("least",)
    applies: ClassVar[Mapping[str, tuple[Modality, ...]]] = {}
    reading: ClassVar[tuple[str, ...]] = ("least",)

    least: int = option(
        5,
        _("Training interactions of an item at least; rarer ones are never recommended."),
        low=1,
        high=1_000_000,
    )

    @property
    def example_format(self) -> ExampleFormat:
        """How rows become examples."""
        return ExampleFormat.HISTORIES

    def restore(self, classes: tuple[str, ...], tokenizer: Tokenizer | None = None) -> Recommendation:
        """The head; it depends on no data."""
        return Recommendation(self)


class Recommender(nnx.Module):
    """A backbone whose table of items is the head."""

    def __init__(self, backbone: nnx.Module):
        self.backbone: Any = backbone


@dataclass(frozen=True, eq=False)
class Recommendation(Head):
    """Cross-entropy over all items: no item is sampled."""

    config: Recommend

    train_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    @property
    def eval_metrics(self) -> tuple[str, ...]:
        """Metrics recorded of an evaluation."""
        return ("loss", "perplexity", "accuracy")

    def init(self, model: ModelConfig, rngs: nnx.Rngs) -> Recommender:
        """The model of config ``model``."""
        return Recommender(model.build(rngs))

    def empty(self) -> MetricState:
        """The metric sums over no items."""
        return TokenSums.empty()

    def activations(self, model: ModelConfig, batch: Mapping[str, Any]) -> Activations | None:
        """What the loss of a batch computes and keeps, by formula; None where the model has none."""
        found, (rows, steps) = model.activations(batch), batch["items"].shape
        return found and found + token_logits(rows * steps, model.width, 1 + (model.input_shape or (0,))[0])

    def loss(
        self, module: Recommender, batch: Batch, key: jax.Array | None
    ) -> tuple[Float[Array, ""], Float[Array, ""], MetricState]:
        """Cross-entropy of the item that follows at each place; see :meth:`Head.loss`."""
        hidden = module.backbone(batch["items"], key=key)
        known = (batch["items"] > 0) & (batch["next"] > 0)
        weight = (batch["weight"][:, None] * known).reshape(-1)
        scores, items = module.backbone.scores, module.backbone.config.item_count
        loss, sums = token_sums(
            scores, hidden.reshape(-1, hidden.shape[-1]), batch["next"].reshape(-1), weight, 1 + items, 0.0
        )
        return loss, sums.weight, sums

    def scores(self, module: Recommender, batch: Batch) -> Float[Array, "b v"]:
        """Scores of all items after each history; the first is none."""
        return module.backbone.scores(module.backbone(batch["items"])[:, -1]).at[:, 0].set(-jnp.inf)
