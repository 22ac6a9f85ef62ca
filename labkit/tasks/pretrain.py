"""Pretraining with masked language modelling and next-sentence prediction (Devlin et al. 2018, 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.config import option
from labkit.core.errors import ConfigError
from labkit.core.shapes import Array, Bool, Float, Int, PRNGKeyArray
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.models import weights
from labkit.models.base import Capability, ModelConfig
from labkit.models.bert import heads
from labkit.models.layers import Segments
from labkit.profile.activations import Activations, dense
from labkit.tasks import metrics
from labkit.tasks.base import (
    Batch,
    ExampleFormat,
    Head,
    MetricState,
    Task,
    tokenizer_option,
    vocabulary_option,
)
from labkit.tasks.token_metrics import TokenSums, token_logits, token_sums

#: Of the chosen tokens so many become [MASK], and so many any other piece; the rest stay as they are.
MASKED, REPLACED = 0.8, 0.1


@dataclass(frozen=True)
class Pretrain(Task):
    """Settings of pretraining. The rows are running text: sentences or paragraphs in their order."""

    needs: ClassVar[Capability] = Capability.BIDIRECTIONAL
    rate_factor: ClassVar[float] = 2.0
    reads_special: ClassVar[bool] = True
    whole_length: ClassVar[bool] = True
    shown: ClassVar[tuple[str, ...]] = ("max_length", "mask_probability", "next_sentence")
    reading: ClassVar[tuple[str, ...]] = (*Task.reading, "next_sentence")

    max_length: int = option(
        128, _("Sequence length of an example (a pair of passages) in tokens."), low=16, high=1_000_000
    )
    mask_probability: float = option(
        0.15, _("Fraction of tokens masked for prediction (MLM probability)."), low=0.01, high=0.8
    )
    whole_words: bool = option(False, _("Whole-word masking: mask all subword tokens of a word together."))
    next_sentence: bool = option(True, _("Also train next-sentence prediction (NSP)."))
    vocabulary: int | None = vocabulary_option(None)
    tokenizer: str = tokenizer_option()

    @property
    def example_format(self) -> ExampleFormat:
        """How rows become examples."""
        return ExampleFormat.PASSAGES if self.next_sentence else ExampleFormat.STREAM

    def build(
        self,
        classes: tuple[str, ...],
        labels: np.ndarray,
        tokenizer: Tokenizer | None = None,
        target: np.ndarray | None = None,
    ) -> Pretraining:
        """The head for a tokenizer, which knows the special pieces and where words go on.

        Raises:
            ConfigError: whole-word masking with a vocabulary that does not mark continuation tokens.
        """
        assert tokenizer is not None
        goes_on = tokenizer.continues
        if self.whole_words and not goes_on.any():
            raise ConfigError(
                _("whole_words needs a WordPiece vocabulary, in which continuation tokens start with '##'.")
            )
        if tokenizer.mask_id is None:
            raise ConfigError(
                _("masked language modelling needs a mask token such as [MASK]; the tokenizer has none.")
            )
        return Pretraining(self, tokenizer.mask_id, tokenizer.reserved, goes_on)

    def restore(self, classes: tuple[str, ...], tokenizer: Tokenizer | None = None) -> Pretraining:
        """The head of a model that is trained already."""
        return self.build(classes, np.zeros(0, np.int32), tokenizer)


class Masked(NamedTuple):
    """A batch with tokens hidden: ``ids`` [b, t] to read; ``place`` [b, m], ``target`` [b, m] and ``weight``
    [b, m] of the masked tokens (weight 0 in unused positions)."""

    ids: Int[Array, "b t"]
    place: Int[Array, "b m"]
    target: Int[Array, "b m"]
    weight: Float[Array, "b m"]


def hide(
    ids: Int[Array, "b t"],
    free: Bool[Array, "b t"],
    goes_on: Bool[Array, "b t"] | None,
    share: float,
    mask_id: int,
    vocabulary: int,
    key: PRNGKeyArray,
) -> Masked:
    """Mask random tokens: 80 % as [MASK], 10 % as any piece, 10 % as they are.

    Args:
        ids: the tokens.
        free: which may be chosen: real tokens that are not special.
        goes_on: which pieces go on the word before them, to choose whole words; None for single pieces.
        share: chance of a token (or word) to be chosen. The places in a row suffice for four standard
            deviations above the mean; what is beyond is not hidden.
        mask_id: of [MASK].
        vocabulary: v, from which any piece is drawn.
        key: random key; the same key hides the same tokens.
    """
    rows, wide = ids.shape
    choose, how, what = jax.random.split(key, 3)
    drawn = jax.random.uniform(choose, (rows, wide))
    column = jnp.arange(wide)
    spread = 1.0
    if goes_on is not None:
        word = jax.lax.cummax(jnp.where(goes_on, 0, column), axis=1)  # the column where a piece's word begins
        drawn = jnp.take_along_axis(drawn, word, axis=1)
        spread = 2.0  # words come and go as a whole
    room = room_of(share, wide, spread)
    chosen = (drawn < share) & free
    # The chosen columns first, in their order.
    place = jnp.argsort(jnp.where(chosen, column, wide + column), axis=1)[:, :room]
    told = jnp.take_along_axis(chosen, place, axis=1)
    target = jnp.take_along_axis(ids, place, axis=1)
    fate = jax.random.uniform(how, place.shape)
    other = jax.random.randint(what, place.shape, 0, vocabulary, ids.dtype)
    shown = jnp.where(
        fate < MASKED, jnp.asarray(mask_id, ids.dtype), jnp.where(fate < MASKED + REPLACED, other, target)
    )
    shown = jnp.where(told, shown, target)
    hidden = jnp.put_along_axis(ids, place, shown, axis=1, inplace=False)
    return Masked(hidden, place, target, told.astype(jnp.float32))


def room_of(share: float, wide: int, spread: float) -> int:
    """Places of a row for masked tokens: four standard deviations above their mean number, ``spread`` times
    as many for whole words."""
    return min(wide, int(np.ceil(share * wide + 4 * spread * np.sqrt(share * (1 - share) * wide))))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class PretrainSums(MetricState):
    """The sums of both objectives."""

    words: TokenSums
    follows: metrics.Counts
    next_sentence: bool = field(metadata={"static": True})  # whether the second objective is trained

    def compute(self) -> dict[str, float]:
        """``loss`` (of both objectives together), ``perplexity`` and ``accuracy`` of the masked tokens;
        ``next_accuracy`` and ``next_f1`` of next-sentence prediction."""
        words = self.words.compute()
        if not self.next_sentence:
            return words
        follows = self.follows.compute()
        return {**words, "loss": words["loss"] + follows["loss"], "masked_loss": words["loss"],
                "next_loss": follows["loss"], "next_accuracy": follows["accuracy"],
                "next_f1": follows["f1"]}  # fmt: skip


class Pretrained(nnx.Module):
    """An encoder with the heads that it is pretrained with."""

    def __init__(self, backbone: nnx.Module, config: Any, rngs: nnx.Rngs):
        self.backbone: Any = backbone
        self.head = heads.PretrainingHeads(config, rngs)


@dataclass(frozen=True, eq=False)
class Pretraining(Head):
    """The heads of masked language modelling and next-sentence prediction."""

    config: Pretrain
    mask_id: int
    reserved: np.ndarray  # bool[v], special pieces
    goes_on: np.ndarray  # bool[v], pieces that go on a word

    train_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    @property
    def eval_metrics(self) -> tuple[str, ...]:
        """Metrics recorded of an evaluation."""
        more = ("next_accuracy", "next_f1") if self.config.next_sentence else ()
        return ("loss", "perplexity", "accuracy", *more)

    def init(self, model: ModelConfig, rngs: nnx.Rngs) -> Pretrained:
        """The model of config ``model`` with new heads."""
        return Pretrained(model.build(rngs), model, rngs)

    @property
    def unused(self) -> tuple[str, ...]:
        """Prefixes of parameters that nothing reads; they are not stored."""
        return () if self.config.next_sentence else ("backbone/pooler/", "head/follows/")

    def save(
        self, params: dict[str, np.ndarray], model: ModelConfig, folder: Path, specials: weights.Specials
    ) -> None:
        """Write the model of config ``model`` in the layout of its family, with its heads."""
        own = {
            tuple(name.split("/")[1:]): value for name, value in params.items() if name.startswith("head/")
        }
        tensors = heads.tensors_of(own, model.layout)
        name = heads.architecture(model, self.config.next_sentence)
        model.save(weights.backbone(params), folder, tensors, specials, architectures=[name])

    def load(self, module: Pretrained, folder: Path, model: ModelConfig) -> None:
        """Put the heads that :meth:`save` wrote into a module."""
        heads.load(module.head, folder)

    def pretrained(self, model: ModelConfig) -> tuple[bool, str]:
        """Whether the pretrained weights have the head of masked language modelling."""
        return (folder := model.folder()) is not None and heads.has_heads(folder, model.layout), ""

    def empty(self) -> PretrainSums:
        """The metric sums over no examples."""
        return PretrainSums(TokenSums.empty(), metrics.Counts.empty(2), self.config.next_sentence)

    def activations(self, model: ModelConfig, batch: Mapping[str, Any]) -> Activations | None:
        """What the loss of a batch computes and keeps, by formula; None where the model has none."""
        (rows, length), found = batch["ids"].shape, model.activations(batch)
        if found is None:
            return None
        masked = rows * room_of(self.config.mask_probability, length, 2.0 if self.config.whole_words else 1.0)
        transform = dense(masked, model.width, model.width, "gelu")
        return found + transform + token_logits(masked, model.width, model.vocabulary)

    def loss(
        self, module: Pretrained, batch: Batch, key: jax.Array | None
    ) -> tuple[Float[Array, ""], Float[Array, ""], PretrainSums]:
        """The mean over the hidden tokens plus the mean over the pairs, times the sum of the examples'
        weights; that sum; and the sums to report. Without a key, to evaluate, always the same tokens are
        hidden.
        """
        hiding, dropping = jax.random.split(jax.random.key(0) if key is None else key)
        packed = "segment" in batch
        ids, real = batch["ids"], batch["segment"] > 0 if packed else batch["mask"]
        reserved, goes_on = jnp.asarray(self.reserved)[ids], jnp.asarray(self.goes_on)[ids]
        weighs = (jnp.take_along_axis(batch["weight"], jnp.maximum(batch["segment"] - 1, 0), 1) if packed
                  else batch["weight"][:, None])  # fmt: skip
        free = real & ~reserved & (weighs > 0)
        words = goes_on if self.config.whole_words else None
        masked = hide(
            ids, free, words, self.config.mask_probability, self.mask_id, len(self.reserved), hiding
        )
        segments = Segments(batch["segment"], batch["position"], batch["start"]) if packed else None
        seen = module.backbone(
            masked.ids, real, batch["types"], segments, key=None if key is None else dropping
        )
        at = jnp.take_along_axis(seen.hidden, masked.place[:, :, None], axis=1)
        table = module.backbone.embeddings.word.embedding[...]
        weight = masked.weight * (jnp.take_along_axis(weighs, masked.place, 1) if packed else weighs)
        loss, told = token_sums(
            lambda hidden: module.head.mlm_logits(hidden, table), at.reshape(-1, at.shape[-1]),
            masked.target.reshape(-1), weight.reshape(-1), table.shape[0],
        )  # fmt: skip
        examples = jnp.sum(batch["weight"])
        total = loss / jnp.maximum(told.weight, 1e-6) * examples
        follows = metrics.Counts.empty(2)
        if self.config.next_sentence:
            logits = module.head.nsp_logits(seen.pooled).reshape(-1, 2)
            label, each = batch["label"].reshape(-1), batch["weight"].reshape(-1)
            losses = jax.nn.logsumexp(logits, -1) - jnp.take_along_axis(logits, label[:, None], -1)[:, 0]
            follows = metrics.count(logits, label, each, losses)
            total += jnp.sum(losses * each)
        return total, examples, PretrainSums(told, follows, self.config.next_sentence)
