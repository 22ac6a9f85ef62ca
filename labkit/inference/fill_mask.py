"""Masked-token and next-sentence prediction with a pretrained encoder."""

from __future__ import annotations

import re
from collections.abc import Callable
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
from labkit.inference.folders import is_folder, opened
from labkit.models import models, weights
from labkit.models.bert import heads
from labkit.tasks.pretrain import Pretrain, Pretrained
from labkit.train.compilation import use_compilation_cache

#: The name of the mask in a text, besides the model's own (``<mask>``); rows are padded to a multiple of STEP tokens.
HIDDEN, STEP = "[MASK]", 16


class Guess(NamedTuple):
    """A piece that may be the hidden one, and its probability, 0 … 1."""

    piece: str
    probability: float


class Filler:
    """A model of the task "pretrain" that a run has written, or pretrained weights with their heads.

    Args:
        source: a folder of labkit's; or weights as an architecture takes them: a sample ("bert-tiny"), a folder in the
            Hugging Face layout, or "org/name@revision".

    Raises:
        WeightsError: there are no such weights, or they have no head for hidden words.

    Attributes:
        tells_next: whether it was trained with next-sentence prediction.
        longest: tokens that it reads at most, the special ones too.
    """

    def __init__(self, source: str | Path):
        use_compilation_cache()
        self._clean: Callable[[str], str] = str  # of a run: as its training texts were cleaned
        if is_folder(source):
            experiment, module, inputs = opened(source, Pretrain, "the task 'pretrain' tells hidden words")
            self.tokenizer, self.tells_next = inputs.tokenizer, experiment.task.next_sentence
            self._clean = experiment.data.clean
        else:
            module, self.tells_next = _with_heads(str(source))
            self.tokenizer = Tokenizer.load(weights.find(str(source)))
        self.longest = module.trunk.config.max_length
        graph, self._state = nnx.split(module)

        @jax.jit
        def read(state: Any, ids: Array, types: Array, real: Array) -> tuple[Array, Array]:
            module = nnx.merge(graph, state)
            seen = module.trunk(ids, real, types)
            table = module.trunk.embeddings.word.embedding[...]
            words = jax.nn.softmax(module.head.mlm_logits(seen.hidden, table))
            return words, jax.nn.softmax(module.head.nsp_logits(seen.pooled)) if self.tells_next else words[:, 0, :2]

        self._read = read

    def __repr__(self) -> str:
        return f"<filler: {self.tokenizer.vocab_size} pieces>"

    @property
    def masks(self) -> tuple[str, ...]:
        """What hides a word in a text: ``[MASK]``, and the name that the model's vocabulary has for it."""
        own = [] if self.tokenizer.mask_id is None else self.tokenizer.names([self.tokenizer.mask_id])
        return tuple(dict.fromkeys([HIDDEN, *own]))

    def fill(self, text: str, pair: str | None = None, *, top: int = 5) -> list[list[Guess]]:
        """The ``top`` likeliest pieces at every ``[MASK]`` (or the model's own name of it, ``<mask>``) of a text
        and of a second one behind it, in their order.

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
        if len(ids) > self.longest:
            raise self._too_long(ids)
        chances = self._asked(ids, types)[0][hidden].copy()
        chances[:, self.tokenizer.reserved] = 0.0
        best = np.argsort(-chances, axis=1)[:, :top]
        return [
            [Guess(name, float(row[number])) for name, number in zip(self.tokenizer.names(places), places, strict=True)]
            for row, places in zip(chances, best, strict=True)
        ]

    def follows(self, first: str, second: str) -> float:
        """The probability, 0 … 1, that ``second`` follows ``first`` in a text; long texts lose their ends. The model
        does not see the tokens behind ``[MASK]``; such texts are not cut.

        Raises:
            ConfigError: the model was not trained for it.
            DataError: texts with hidden words are longer than the model reads.
        """
        if not self.tells_next:
            raise ConfigError(_("this model was pretrained without next-sentence prediction (next_sentence = False)."))
        ids, types = self._row(first, second)
        if self.tokenizer.mask_id not in ids:
            row = self.tokenizer.encode([first], [second], max_length=self.longest)
            ids, types = row.ids, row.types
        elif len(ids) > self.longest:
            raise self._too_long(ids)
        return float(self._asked(ids, types)[1][0])

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
                parts[place] = f"{before}{self._clean(part).strip()}{after}" if part.strip() else part
        return "".join(parts) if len(parts) > 1 else self._clean(text)

    def _too_long(self, ids: np.ndarray) -> DataError:
        return DataError(
            _("a row of {n_ids} tokens exceeds the maximum of {longest} of this model."),
            n_ids=len(ids),
            longest=self.longest,
        )

    def _asked(self, ids: np.ndarray, types: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities [t, v] of every piece at every place, and [2] of following and not."""
        wide = min(-(-len(ids) // STEP) * STEP, self.longest)
        row = np.full((1, wide), self.tokenizer.pad_id, np.int32)
        kinds, real = np.zeros_like(row), np.arange(wide)[None] < len(ids)
        row[0, : len(ids)], kinds[0, : len(ids)] = ids, types
        words, follows = jax.device_get(self._read(self._state, *map(jnp.asarray, (row, kinds, real))))
        return words[0, : len(ids)], follows[0]


def _with_heads(name: str) -> tuple[Pretrained, bool]:
    """Weights with the heads of their pretraining, and whether there is one for the next sentence."""
    config = models["bert"](weights=name)
    module = Pretrained(config.build(nnx.Rngs(0)), config, nnx.Rngs(0))
    without_pooler = config.load(module.trunk).missing
    missing = heads.load(module.head, weights.find(name)).missing
    if any("seq_relationship" not in each for each in missing):
        raise WeightsError(
            _("weights {name!r} have no masked-language-model head: {missing} are missing."),
            name=name,
            missing=", ".join(missing),
        )
    return module, not missing and not without_pooler and config.layout == "bert"
