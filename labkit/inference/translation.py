"""Translation: an encoder-decoder writes the target text of a source text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from labkit.core.errors import ConfigError
from labkit.i18n import _
from labkit.inference.pipeline import GenerationPipeline
from labkit.models.base import Capability
from labkit.tasks.decoding import Generation, step_of, write
from labkit.tasks.seq2seq import Seq2Seq


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

    def _write(self, texts: list[str], how: Generation) -> list[str]:
        rows = self.tokenizer.encode(texts, max_length=self.max_length)
        ids = self._padded(np.split(rows.ids, rows.offsets[1:-1]), self.model.config.max_length)
        real = np.arange(ids.shape[1])[None] < rows.lengths[:, None]
        if (forced := self.tokenizer.roles.forced_first) is not None:  # it is the first of the new tokens
            how = how.replace(max_new_tokens=max(1, how.max_new_tokens - 1))
        written = self._written(self.tokenizer.end_ids, how.replace(seed=0))
        made = jax.device_get(written(ids, real, jax.random.key(how.seed)))
        found = [row[:length].tolist() for row, length in zip(made.ids, made.length, strict=True)]
        if (
            self.tokenizer.roles.forced_last is not None
        ):  # it takes the last place, whatever the model would write
            found = [row[:-1] if len(row) == how.max_new_tokens else row for row in found]
        if forced is not None:
            found = [[forced, *row] for row in found]
        return [self.tokenizer.decode(row) for row in found]

    def _function(self, ends: tuple[int, ...], how: Generation) -> Callable[..., Any]:
        forced = self.tokenizer.roles.forced_first
        start = [self.tokenizer.start_id, *([] if forced is None else [forced])]

        def run(model: Any, ids: jax.Array, real: jax.Array, key: jax.Array) -> Any:
            cache = model.start(model.encode(ids, real), real, len(start) + how.max_new_tokens)
            begin = jnp.tile(jnp.array(start, jnp.int32), (len(ids), 1))
            count = jnp.full(len(ids), len(start), jnp.int32)
            return write(step_of(model), begin, count, cache, ends, how, key)

        return run
