"""Masked-token and next-sentence prediction with a pretrained encoder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.errors import ConfigError, DataError, WeightsError
from labkit.core.shapes import Array
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.inference.pipeline import Pipeline
from labkit.inference.pretrained import config_of
from labkit.models import weights
from labkit.models.base import Capability
from labkit.models.bert import heads
from labkit.tasks.pretrain import Pretrain, Pretrained

#: The name of the mask in a text, besides the model's own (``<mask>``); rows are padded to a multiple of STEP
#: tokens.
HIDDEN, STEP = "[MASK]", 16


class TokenPrediction(NamedTuple):
    """A token that may be the hidden one, and its probability, 0 … 1."""

    token: str
    probability: float


class FillMaskPipeline(Pipeline):
    """A model of the task "pretrain" that a run has written, or pretrained weights with their heads
    ("bert-tiny").

    Attributes:
        next_sentence: whether it was trained to predict whether one text follows another.
    """

    task, pretrained = Pretrain, Capability.BIDIRECTIONAL
    next_sentence: bool

    def __init__(
        self, source: str | Path, device: jax.Device | None = None, plugins: Sequence[str] = (), dtype: str = "auto"
    ):  # fmt: skip
        super().__init__(source, device, plugins, dtype)
        self.max_length = self.model.backbone.config.max_length
        self._read = self.compiled(self._probabilities)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.tokenizer.vocab_size} tokens>"

    def _used(self, module: nnx.Module) -> Any:
        self.next_sentence = self.experiment.task.next_sentence
        return module

    def _load_weights(self, name: str) -> Any:
        """Weights with the heads of their pretraining, of which that of the next sentence may be missing."""
        config = self._precise(config_of(name, Capability.BIDIRECTIONAL))
        module = Pretrained(config.build(nnx.Rngs(0)), config, nnx.Rngs(0))
        without_pooler = config.load(module.backbone).missing
        missing = heads.load(module.head, weights.find(name)).missing
        if any("seq_relationship" not in each for each in missing):
            raise WeightsError(
                _("weights {name!r} have no masked-language-model head: {missing} are missing."),
                name=name, missing=", ".join(missing),
            )  # fmt: skip
        self.next_sentence = not missing and not without_pooler and config.layout == "bert"
        self.tokenizer = Tokenizer.load(weights.find(name))
        return module

    def _probabilities(self, module: Any, ids: Array, types: Array, real: Array) -> tuple[Array, Array]:
        seen = module.backbone(ids, real, types)
        table = module.backbone.embeddings.word.embedding[...]
        words = jax.nn.softmax(module.head.mlm_logits(seen.hidden, table))
        return words, jax.nn.softmax(module.head.nsp_logits(seen.pooled)) if self.next_sentence else words[
            :, 0, :2
        ]

    @property
    def masks(self) -> tuple[str, ...]:
        """What hides a word in a text: ``[MASK]``, and the name that the model's vocabulary has for it."""
        own = [] if self.tokenizer.mask_id is None else self.tokenizer.names([self.tokenizer.mask_id])
        return tuple(dict.fromkeys([HIDDEN, *own]))

    def fill(self, text: str, pair: str | None = None, *, top: int = 5) -> list[list[TokenPrediction]]:
        """The ``top`` likeliest pieces at every ``[MASK]`` (or the model's own name of it, ``<mask>``) of a
        text and of a second one behind it, in their order.

        Raises:
            DataError: nothing is hidden, or the texts are longer than the model reads.
        """
        ids, types = self._row(text, pair)
        hidden = np.flatnonzero(ids == self.tokenizer.mask_id)
        if not len(hidden):
            raise DataError(
                _("{text!r} contains no mask token: write {hidden} in place of each token to predict."),
                text=text[:40],
                hidden=HIDDEN,
            )
        if len(ids) > self.max_length:
            raise self._too_long(ids)
        chances = self._chances(ids, types)[0][
            hidden, : self.tokenizer.vocab_size
        ].copy()  # others are no tokens
        chances[:, self.tokenizer.reserved] = 0.0
        best = np.argsort(-chances, axis=1)[:, :top]
        return [
            [
                TokenPrediction(*each)
                for each in zip(self.tokenizer.names(tokens), row[tokens].tolist(), strict=True)
            ]
            for row, tokens in zip(chances, best, strict=True)
        ]

    __call__ = fill

    def follows(self, first: str, second: str) -> float:
        """The probability, 0 … 1, that ``second`` follows ``first`` in a text; long texts lose their ends.
        The model does not see the tokens behind ``[MASK]``; such texts are not cut.

        Raises:
            ConfigError: the model was not trained for it.
            DataError: texts with hidden words are longer than the model reads.
        """
        if not self.next_sentence:
            raise ConfigError(
                _("this model was pretrained without next-sentence prediction (next_sentence = False).")
            )
        ids, types = self._row(first, second)
        if self.tokenizer.mask_id not in ids:
            row = self.tokenizer.encode([first], [second], max_length=self.max_length)
            ids, types = row.ids, row.types
        elif len(ids) > self.max_length:
            raise self._too_long(ids)
        return float(self._chances(ids, types)[1][0])

    def _row(self, text: str, pair: str | None) -> tuple[np.ndarray, np.ndarray]:
        """Ids and types of a row as in training, the mask in the places of hidden words."""
        masked = self.tokenizer.masked
        text, pair = self._cleaned(text), None if pair is None else self._cleaned(pair)
        return self.tokenizer.row(masked(text), None if pair is None else masked(pair))

    def _cleaned(self, text: str) -> str:
        """A text cleaned as in training between what hides its words."""
        parts = re.split(f"({'|'.join(map(re.escape, self.masks))})", text)
        for place, part in enumerate(parts):
            if part not in self.masks:
                before, after = (" " if end.isspace() else "" for end in (part[:1], part[-1:]))
                parts[place] = f"{before}{self.clean(part).strip()}{after}" if part.strip() else part
        return "".join(parts) if len(parts) > 1 else self.clean(text)

    def _too_long(self, ids: np.ndarray) -> DataError:
        return DataError(
            _("a row of {n_ids} tokens exceeds the maximum of {longest} of this model."),
            n_ids=len(ids),
            longest=self.max_length,
        )

    def _chances(self, ids: np.ndarray, types: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities [t, v] of every piece at every place, and [2] of following and not."""
        wide = min(-(-len(ids) // STEP) * STEP, self.max_length)
        row = np.full((1, wide), self.tokenizer.pad_id, np.int32)
        kinds, real = np.zeros_like(row), np.arange(wide)[None] < len(ids)
        row[0, : len(ids)], kinds[0, : len(ids)] = ids, types
        words, follows = jax.device_get(self._read(*map(jnp.asarray, (row, kinds, real))))
        return words[0, : len(ids)], follows[0]
