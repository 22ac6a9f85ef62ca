"""Sequence to sequence: generate a target text from a source text (Sutskever et al. 2014)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from flax import nnx

from labkit.core.config import option
from labkit.core.shapes import Array, Float
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.models import weights
from labkit.models.base import Capability, ModelConfig
from labkit.profile.activations import Activations
from labkit.tasks.base import Batch, ExampleFormat, Head, Task, tokenizer_option, vocabulary_option
from labkit.tasks.decoding import Generation
from labkit.tasks.token_metrics import TokenSums, token_logits, token_sums


@dataclass(frozen=True)
class Seq2Seq(Task):
    """Settings of sequence to sequence. The rows are pairs of texts, the source first."""

    needs: ClassVar[Capability] = Capability.SEQ2SEQ
    needs_pairs: ClassVar[bool] = True
    fresh_batch: ClassVar[int] = 8  # each example has many tokens to learn from

    max_length: int | None = option(
        None,
        _("Maximum length of source and of target in tokens. Default: chosen from the data."),
        low=8,
        high=1_000_000,
    )
    label_smoothing: float = option(
        0.1, _("Label smoothing: probability mass spread uniformly over the vocabulary."), low=0.0, high=0.9
    )
    vocabulary: int | None = vocabulary_option(
        None,
        _("Vocabulary size of the tokenizer, shared by source and target. Default: chosen from the texts."),
    )
    tokenizer: str = tokenizer_option("bpe")

    @property
    def example_format(self) -> ExampleFormat:
        """How rows become examples."""
        return ExampleFormat.TRANSLATION

    def restore(self, classes: tuple[str, ...], tokenizer: Tokenizer | None = None) -> Translation:
        """The head; it depends on no data."""
        return Translation(self)


class EncoderDecoder(nnx.Module):
    """An encoder and a decoder; the head is their own table."""

    def __init__(self, backbone: nnx.Module):
        self.backbone: Any = backbone


@dataclass(frozen=True, eq=False)
class Translation(Head):
    """Sequence to sequence; the output table is the head."""

    config: Seq2Seq

    train_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    @property
    def eval_metrics(self) -> tuple[str, ...]:
        """Metrics recorded of an evaluation."""
        return ("loss", "perplexity", "accuracy")

    def init(self, model: ModelConfig, rngs: nnx.Rngs) -> EncoderDecoder:
        """The model of config ``model``; it has all that is needed."""
        return EncoderDecoder(model.build(rngs))

    def save(
        self, params: dict[str, np.ndarray], model: ModelConfig, folder: Path, specials: weights.Specials
    ) -> None:
        """Write the model of config ``model`` in the layout of its family."""
        model.save(weights.backbone(params), folder, specials=specials)
        most = min(Generation().max_new_tokens, model.max_length - 1)
        start = specials.begin if specials.start is None else specials.start
        weights.write_generation(folder, specials, decoder_start_token_id=start, max_new_tokens=most)

    def empty(self) -> TokenSums:
        """The metric sums over no examples."""
        return TokenSums.empty()

    def activations(self, model: ModelConfig, batch: Mapping[str, Any]) -> Activations | None:
        """What the loss of a batch computes and keeps, by formula; None where the model has none."""
        (rows, length), found = batch["target_ids"].shape, model.activations(batch)
        return found and found + token_logits(rows * (length - 1), model.width, model.vocabulary)

    def loss(
        self, module: EncoderDecoder, batch: Batch, key: jax.Array | None
    ) -> tuple[Float[Array, ""], Float[Array, ""], TokenSums]:
        """Cross-entropy of every token of the targets ``[CLS] … [SEP]`` but the first: its sum, the sum of
        weights, and the sums to report. A token weighs as much as its example. Label smoothing is for
        training, with a ``key``.
        """
        target, seen = batch["target_ids"], batch["target_mask"]
        made = module.backbone(batch["ids"], batch["mask"], target, seen, key=key)
        flat = made.hidden[:, :-1].reshape(-1, made.hidden.shape[-1])
        weight = (batch["weight"][:, None] * seen[:, 1:]).reshape(-1)
        smoothing = self.config.label_smoothing if key is not None else 0.0
        logits = module.backbone.logits
        vocabulary = jax.eval_shape(logits, flat[:1]).shape[-1]
        loss, sums = token_sums(logits, flat, target[:, 1:].reshape(-1), weight, vocabulary, smoothing)
        return loss, sums.weight, sums
