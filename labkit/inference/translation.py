"""Translation: an encoder-decoder writes the target text of a source text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from labkit.core.errors import ConfigError
from labkit.data.model_input import texts_of
from labkit.explain.explanation import AttentionWeights
from labkit.i18n import _
from labkit.inference.pipeline import GenerationPipeline, rounded_up
from labkit.models.base import Capability
from labkit.tasks.decoding import Generation, step_of, write
from labkit.tasks.seq2seq import Seq2Seq

#: Texts that are translated at a time; longer lists are sorted by length and cut into batches of this size.
BATCH = 64


class TranslationPipeline(GenerationPipeline):
    """A model of the task "seq2seq" that a run has written or exported, or pretrained weights as the
    architecture "transformer" takes them: a folder of Marian's or Pegasus' in the Hugging Face layout, or
    "org/name@revision".

    Target texts begin and end with the tokens that ``generation_config.json`` or ``config.json`` names.
    """

    task, pretrained, noun = Seq2Seq, Capability.SEQ2SEQ, _("source text")

    def translate(self, texts: str | Sequence[str], **settings: object) -> Any:
        """The target texts of source texts, of which the ends are lost beyond the length of the training.

        Args:
            texts: a text, or several.
            **settings: those of :class:`~labkit.tasks.decoding.Generation`: ``max_new_tokens`` (default: 64,
                or the number of positions of the model), ``temperature``, ``beams`` …

        Returns:
            A text for one text, a list for several.

        Raises:
            ConfigError: a setting cannot be used, or the new tokens are more than the model has positions
            for.
            DataError: a text is not a string.
        """
        how = Generation.from_dict({"max_new_tokens": min(64, self.room), **settings})
        if how.max_new_tokens > self.room:
            raise ConfigError(
                _("max_new_tokens = {max_new_tokens} exceeds the {room} that this model can generate."),
                max_new_tokens=how.max_new_tokens,
                room=self.room,
            )
        return self._answers(texts, how)

    __call__ = translate

    def attention(self, text: str, target: str | None = None, **settings: object) -> AttentionWeights:
        """Cross-attention: how much each token of a target text looks at each token of the source.

        Args:
            text: the source text.
            target: a target text. None: the translation of ``text``.
            **settings: see :meth:`translate`, for the translation.

        Returns:
            Weights [decoder layers, heads, target tokens, source tokens]; the row of a token is the attention with
            which it was predicted.

        Raises:
            DataError: a text is not a string.
        """
        target = (
            self.translate(text, **settings) if target is None else texts_of([target], _("target text"))[0]
        )
        texts = texts_of([text], self.noun)
        source = self.tokenizer.encode([self.clean(texts[0])], max_length=self.max_length).ids
        # The new tokens of the target, and the token that ends it, as the model would write them.
        forced = self.tokenizer.roles.forced_first
        start = [self.tokenizer.start_id, *([] if forced is None else [forced])]
        pieces = [number for _piece, number, _place in self.tokenizer.pieces(target)]
        made = [*pieces, *self.tokenizer.end_ids[:1]][: self.model.config.max_length - len(start)]
        read = np.asarray([[*start, *made][: len(start) + len(made) - 1]], np.int32)
        ids, seen = (
            self._padded([source], self.model.config.max_length),
            self._padded([read[0]], self.model.config.max_length),
        )
        masks = (np.arange(ids.shape[1])[None] < len(source), np.arange(seen.shape[1])[None] < read.shape[1])
        found = self._looks(ids, masks[0], seen, masks[1])
        weights = np.asarray(found)[0, :, :, len(start) - 1 : read.shape[1], : len(source)]
        return AttentionWeights(self._shown(made), weights, source=self._shown(source.tolist()))

    def _shown(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Tokens as text; special ones, and those that are part of a character, as the vocabulary spells them."""
        texts = [self.tokenizer.decode([number]) for number in ids]
        names = self.tokenizer.names(ids)
        return tuple(
            name if not text or "\ufffd" in text else text for text, name in zip(texts, names, strict=True)
        )

    @cached_property
    def _looks(self) -> Callable[..., jax.Array]:
        return self.compiled(lambda model, *batch: model.cross_attention(*batch))

    def _write(self, texts: list[str], how: Generation) -> list[str]:
        rows = self.tokenizer.encode(texts, max_length=self.max_length)
        ids = np.split(rows.ids, rows.offsets[1:-1])
        order = np.argsort(-rows.lengths, kind="stable")
        made = [""] * len(texts)
        for number, start in enumerate(range(0, len(texts), BATCH)):
            places = order[start : start + BATCH]
            key = jax.random.key(how.seed)
            for place, text in zip(
                places,
                self._batch(
                    [ids[p] for p in places], how, jax.random.fold_in(key, number) if number else key
                ),
                strict=True,
            ):
                made[place] = text
        return made

    def _batch(self, rows: list[np.ndarray], how: Generation, key: jax.Array) -> Iterator[str]:
        """The texts for a batch of sources; rows without tokens fill it up to one of few sizes."""
        lengths = np.zeros(rounded_up(len(rows)), np.int32)
        lengths[: len(rows)] = [len(row) for row in rows]
        padding = [np.zeros(0, np.int32)] * (len(lengths) - len(rows))
        ids = self._padded([*rows, *padding], self.model.config.max_length)
        real = np.arange(ids.shape[1])[None] < lengths[:, None]
        if (forced := self.tokenizer.roles.forced_first) is not None:  # it is the first of the new tokens
            how = how.replace(max_new_tokens=max(1, how.max_new_tokens - 1))
        written = self._written(self.tokenizer.end_ids, how.replace(seed=0))
        made = jax.device_get(written(ids, real, key))
        for row, length in zip(made.ids[: len(rows)], made.length, strict=False):
            found = row[:length].tolist()
            # the last place is that of a forced end, whatever the model would write
            if self.tokenizer.roles.forced_last is not None and len(found) == how.max_new_tokens:
                found = found[:-1]
            yield self.tokenizer.decode(found if forced is None else [forced, *found])

    def _function(self, ends: tuple[int, ...], how: Generation) -> Callable[..., Any]:
        forced = self.tokenizer.roles.forced_first
        start = [self.tokenizer.start_id, *([] if forced is None else [forced])]

        def run(model: Any, ids: jax.Array, real: jax.Array, key: jax.Array) -> Any:
            cache = model.start(model.encode(ids, real), real, len(start) + how.max_new_tokens)
            begin = jnp.tile(jnp.array(start, jnp.int32), (len(ids), 1))
            count = jnp.where(
                real.any(axis=1), len(start), 0
            )  # nothing is written for rows that fill a batch
            return write(step_of(model), begin, count, cache, ends, how, key)

        return run
