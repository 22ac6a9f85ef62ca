"""Causal language modelling: predict each token from the preceding ones (Radford et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.config import option
from labkit.core.shapes import Array, Float
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.models import weights
from labkit.models.base import Capability, ModelConfig
from labkit.models.layers import Segments
from labkit.profile.activations import Activations
from labkit.tasks.base import Batch, ExampleFormat, Head, Task, tokenizer_option, vocabulary_option
from labkit.tasks.decoding import Generation
from labkit.tasks.token_metrics import TokenSums, token_logits, token_sums


@dataclass(frozen=True)
class LanguageModel(Task):
    """Settings of causal language modelling. The rows are one running text, cut into windows of
    ``max_length``."""

    needs: ClassVar[Capability] = Capability.CAUSAL
    writes: ClassVar[bool] = True
    reads_special: ClassVar[bool] = True
    whole_length: ClassVar[bool] = True
    fresh_rate_factor: ClassVar[float] = 2.0
    fresh_batch: ClassVar[int] = 8  # each example has many tokens to learn from

    max_length: int = option(128, _("Context length: tokens per training window."), low=8, high=1_000_000)
    label_smoothing: float = option(
        0.0, _("Label smoothing: probability mass spread uniformly over the vocabulary."), low=0.0, high=0.9
    )
    vocabulary: int | None = vocabulary_option(None)
    tokenizer: str = tokenizer_option("bpe")

    @property
    def example_format(self) -> ExampleFormat:
        """How rows become examples."""
        return ExampleFormat.STREAM

    def restore(self, classes: tuple[str, ...], tokenizer: Tokenizer | None = None) -> LanguageModelling:
        """The head; it depends on no data."""
        return LanguageModelling(self)


class Decoder(nnx.Module):
    """Decoder with a next-token head; its head is its own table."""

    def __init__(self, backbone: nnx.Module):
        self.backbone: Any = backbone

    def __call__(self, batch: Batch, *, key: jax.Array | None = None) -> Float[Array, "b t d"]:
        """Hidden states of a batch of windows, or of packed texts."""
        segments, mask = None, batch.get("mask")
        if "segment" in batch:
            segments = Segments(batch["segment"], batch["position"], batch["start"])
            mask = batch["segment"] > 0
        return self.backbone(batch["ids"], mask, None, segments, key=key).hidden


@dataclass(frozen=True, eq=False)
class LanguageModelling(Head):
    """Causal language modelling; the output table is the head."""

    config: LanguageModel

    train_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    @property
    def eval_metrics(self) -> tuple[str, ...]:
        """Metrics recorded of an evaluation."""
        return ("loss", "perplexity", "bits", "accuracy")

    def init(self, model: ModelConfig, rngs: nnx.Rngs) -> Decoder:
        """The model of config ``model``; it has all that is needed."""
        return Decoder(model.build(rngs))

    def save(
        self, params: dict[str, np.ndarray], model: ModelConfig, folder: Path, specials: weights.Specials
    ) -> None:
        """Write the model of config ``model`` in the layout of its family."""
        model.save(weights.backbone(params), folder, specials=specials)
        weights.write_generation(folder, specials, max_new_tokens=Generation().max_new_tokens)

    def check_loaded(self, report: weights.LoadReport) -> None:
        """Raise :class:`WeightsError` where pretrained weights lack the output table: every token would be
        random."""
        report.check_whole()

    def empty(self) -> TokenSums:
        """The metric sums over no examples."""
        return TokenSums.empty()

    def activations(self, model: ModelConfig, batch: Mapping[str, Any]) -> Activations | None:
        """What the loss of a batch computes and keeps, by formula; None where the model has none."""
        (rows, length), found = batch["ids"].shape, model.activations(batch)
        return found and found + token_logits(rows * (length - 1), model.width, model.vocabulary)

    def token_weights(self, batch: Batch) -> Float[Array, "b t"]:
        """The weight in the loss of every token but the first of a row, f32[b, t - 1]."""
        if "segment" in batch:
            before, own = batch["segment"][:, :-1], batch["segment"][:, 1:]
            place = jnp.maximum(own - 1, 0)
            return jnp.take_along_axis(batch["weight"], place, axis=1) * ((own == before) & (own > 0))
        return batch["weight"][:, None] * batch["mask"][:, 1:]

    def loss(
        self, module: Decoder, batch: Batch, key: jax.Array | None
    ) -> tuple[Float[Array, ""], Float[Array, ""], TokenSums]:
        """Cross-entropy of every token but the first of a text: its sum, the sum of weights, and the sums to
        report.

        A token weighs as much as its example.
        """
        hidden = module(batch, key=key)[:, :-1]
        ids, weight = batch["ids"], self.token_weights(batch)
        flat = hidden.reshape(-1, hidden.shape[-1])
        smoothing = self.config.label_smoothing if key is not None else 0.0
        backbone = module.backbone
        vocabulary = jax.eval_shape(backbone.logits, flat[:1]).shape[-1]
        target = ids[:, 1:].reshape(-1)
        loss, sums = token_sums(backbone.logits, flat, target, weight.reshape(-1), vocabulary, smoothing)
        return loss, sums.weight, sums
