"""Sequence-to-sequence generation with a Transformer on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.errors import ConfigError, DataError
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.inference.folders import is_folder, opened
from labkit.models import models, weights
from labkit.tasks.decoding import Generation, step_of, write
from labkit.tasks.seq2seq import Seq2Seq
from labkit.train.compilation import use_compilation_cache

#: Sources are filled up to a multiple of so many tokens, so that few lengths are compiled.
STEP = 32


class Translator:
    """A model of the task "seq2seq" that a run has written or exported, or pretrained weights of a translator.

    Target texts begin and end with the tokens that ``generation_config.json`` or ``config.json`` names.

    Args:
        source: a folder of labkit's; or weights as the architecture "transformer" takes them: a folder of Marian's or
            Pegasus' in the Hugging Face layout, or "org/name@revision".

    Raises:
        WeightsError: there are no such weights, or the model was trained for another task.
    """

    def __init__(self, source: str | Path):
        use_compilation_cache()
        self._clean: Callable[[str], str] = str  # of a run: as its training texts were cleaned
        if is_folder(source):
            experiment, module, inputs = opened(source, Seq2Seq, "the task 'seq2seq' writes target texts")
            self.model, self.tokenizer, self._longest = module.trunk, inputs.tokenizer, experiment.task.max_length
            self._clean = experiment.data.clean
        else:
            config = models["transformer"](weights=str(source))
            self.model = nnx.eval_shape(lambda: config.build(nnx.Rngs(0)))
            config.load(self.model)
            self.tokenizer = Tokenizer.load(weights.find(str(source)))
            self._longest = self.model.config.max_length
        self._graph, self._state = nnx.split(self.model)
        self._compiled = lru_cache(maxsize=32)(self._function)

    def __repr__(self) -> str:
        return f"<translator: {self.tokenizer.vocab_size} pieces>"

    @property
    def room(self) -> int:
        """Tokens that a target may have."""
        return self.model.config.max_length - 1

    def translate(self, texts: str | Sequence[str], **settings: Any) -> Any:
        """The target texts of source texts, of which the ends are lost beyond the length of the training.

        Args:
            texts: a text, or several.
            **settings: those of :class:`~labkit.tasks.decoding.Generation`: ``max_new_tokens`` (default: 64, or the
                number of positions of the model), ``temperature``, ``beams`` …

        Returns:
            A text for one text, a list for several.

        Raises:
            ConfigError: a setting cannot be used, or the new tokens are more than the model has positions for.
            DataError: a text is not a string.
        """
        how = Generation.from_dict({"max_new_tokens": min(64, self.room), **settings})
        if how.max_new_tokens > self.room:
            raise ConfigError(
                _("max_new_tokens = {max_new_tokens} exceeds the {room} that this model can generate."),
                max_new_tokens=how.max_new_tokens,
                room=self.room,
            )
        sources = [texts] if isinstance(texts, str) else list(texts)
        if wrong := [text for text in sources if not isinstance(text, str)]:
            raise DataError(_("a source must be a string, not {wrong!r}."), wrong=wrong[0])
        answers = self._write([self._clean(text) for text in sources], how) if sources else []
        return answers[0] if isinstance(texts, str) else answers

    def _write(self, sources: list[str], how: Generation) -> list[str]:
        rows = self.tokenizer.encode(sources, max_length=self._longest)
        wide = min(-(-int(rows.lengths.max()) // STEP) * STEP, self.model.config.max_length)
        ids = np.full((len(sources), wide), self.tokenizer.pad_id, np.int32)
        for place, (start, end) in enumerate(zip(rows.offsets[:-1], rows.offsets[1:], strict=True)):
            ids[place, : end - start] = rows.ids[start:end]
        real = np.arange(wide)[None] < rows.lengths[:, None]
        if (forced := self.tokenizer.roles.forced_first) is not None:  # it is the first of the new tokens
            how = how.replace(max_new_tokens=max(1, how.max_new_tokens - 1))
        written = self._compiled(ids.shape, how.replace(seed=0))(self._state, ids, real, jax.random.key(how.seed))
        made = jax.device_get(written)
        rows = [row[:length].tolist() for row, length in zip(made.ids, made.length, strict=True)]
        if self.tokenizer.roles.forced_last is not None:  # it takes the last place, whatever the model would write
            rows = [row[:-1] if len(row) == how.max_new_tokens else row for row in rows]
        if forced is not None:
            rows = [[forced, *row] for row in rows]
        return [self.tokenizer.decode(row) for row in rows]

    def _function(self, shape: tuple[int, int], how: Generation) -> Any:
        ends, forced = self.tokenizer.end_ids, self.tokenizer.roles.forced_first
        start = [self.tokenizer.start_id, *([] if forced is None else [forced])]

        @jax.jit
        def run(state: Any, ids: jax.Array, real: jax.Array, key: jax.Array) -> Any:
            model = nnx.merge(self._graph, state)

            cache = model.start(model.encode(ids, real), real, len(start) + how.max_new_tokens)
            begin = jnp.tile(jnp.array(start, jnp.int32), (shape[0], 1))
            count = jnp.full(shape[0], len(start), jnp.int32)
            return write(step_of(model), begin, count, cache, ends, how, key)

        return run
