"""Sequence to sequence: a source text is read, its target text told token by token (Sutskever et al. 2014)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from flax import nnx

from labkit.base.config import Config, option
from labkit.base.shapes import Array, Float
from labkit.models import weights
from labkit.tasks.generate import Generation
from labkit.tasks.sums import TokenSums, token_scores, token_sums, zeros

Batch = dict[str, Any]


@dataclass(frozen=True)
class Seq2Seq(Config):
    """Settings of sequence to sequence. The rows are pairs of texts, the source first."""

    labelled: ClassVar[bool] = False
    form: ClassVar[str] = "translation"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    models: ClassVar[tuple[str, ...]] = ("transformer",)  # architectures that can learn it
    rate_factor: ClassVar[float] = 1.0  # default learning rate ÷ that of a classifier
    fresh_batch: ClassVar[int] = 8  # default examples in a step, from new weights: each has many tokens to learn from

    max_length: int | None = option(
        None, "Tokens of a source, and of a target, at most. Left out: chosen from the data.", low=8, high=1_000_000
    )
    label_smoothing: float = option(0.1, "Share of the aim that is spread over the vocabulary.", low=0.0, high=0.9)
    vocabulary: int | None = option(
        None, "Pieces to learn, of both languages together. Left out: chosen from the texts.", low=100, high=1_000_000
    )
    tokenizer: str = option("bpe", "How to cut words then.", choices=("bpe", "wordpiece"))

    def bind(self, classes: tuple[str, ...], train_labels: np.ndarray, tokenizer: Any = None) -> Translation:
        """Join the settings to the data, of which nothing more need be known."""
        return Translation(self)

    def restored(self, classes: tuple[str, ...], tokenizer: Any = None) -> Translation:
        """The task for a model that is trained already."""
        return Translation(self)


class Translator(nnx.Module):
    """An encoder and a decoder; the head is their own table."""

    def __init__(self, trunk: Any):
        self.trunk = trunk


@dataclass(frozen=True, eq=False)
class Translation:
    """Sequence to sequence joined to its data: what the compiled step calls."""

    config: Seq2Seq
    classes: tuple[str, ...] = ()

    unused: ClassVar[tuple[str, ...]] = ()
    headline: ClassVar[str] = "loss"
    told: ClassVar[tuple[str, ...]] = ("accuracy",)
    reported: ClassVar[tuple[str, ...]] = ("loss", "perplexity", "accuracy")

    def module(self, model: Any, rngs: nnx.Rngs) -> Translator:
        """The model of config ``model``; it has all that is needed."""
        return Translator(model.build(rngs))

    def save(self, params: dict[str, np.ndarray], model: Any, folder: Path, specials: weights.Specials) -> None:
        """Write the model of config ``model`` in the layout of its family."""
        model.save(weights.trunk(params), folder, specials=specials)
        most = min(Generation().max_new_tokens, model.max_length - 1)
        start = specials.begin if specials.start is None else specials.start
        weights.write_generation(folder, specials, decoder_start_token_id=start, max_new_tokens=most)

    def check_loaded(self, report: weights.LoadReport) -> None:
        """Pretrained weights may lack the bias of the output, which is then 0."""

    def load_head(self, module: Translator, folder: Path, model: Any) -> None:
        """There is no head to load."""

    def scores(self, sums: TokenSums) -> dict[str, float]:
        """Sums to numbers: loss, perplexity, bits, accuracy, all of the target's tokens."""
        return token_scores(sums)

    def zeros(self) -> TokenSums:
        """Empty sums."""
        return zeros()

    def loss(
        self, module: Translator, batch: Batch, key: jax.Array | None
    ) -> tuple[Float[Array, ""], Float[Array, ""], TokenSums]:
        """Cross-entropy of every token of the targets ``[CLS] … [SEP]`` but the first: its sum, the sum of weights, and
        the sums to report. A token weighs as much as its example. Label smoothing is for training, with a ``key``.
        """
        target, seen = batch["target_ids"], batch["target_mask"]
        made = module.trunk(batch["ids"], batch["mask"], target, seen, key=key)
        flat = made.hidden[:, :-1].reshape(-1, made.hidden.shape[-1])
        weight = (batch["weight"][:, None] * seen[:, 1:]).reshape(-1)
        smoothing = self.config.label_smoothing if key is not None else 0.0
        logits = module.trunk.logits
        vocabulary = jax.eval_shape(logits, flat[:1]).shape[-1]
        loss, sums = token_sums(logits, flat, target[:, 1:].reshape(-1), weight, vocabulary, smoothing)
        return loss, sums.weight, sums
