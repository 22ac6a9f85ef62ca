"""A Transformer on disk that writes the target text of a source text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.base.config import loads
from labkit.base.errors import ConfigError, DataError, WeightsError
from labkit.tasks import tasks
from labkit.tasks.generate import Generation, step_of, write
from labkit.tasks.seq2seq import Seq2Seq
from labkit.train.compilation import use_compilation_cache
from labkit.train.experiment import Experiment
from labkit.train.setup import load_model

#: Sources are filled up to a multiple of so many tokens, so that few lengths are compiled.
STEP = 32


class Translator:
    """A model folder that a run of the task "seq2seq" has written or exported.

    Raises:
        WeightsError: the folder is none of labkit's, or its model has learnt something else.
    """

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        if not (folder / "labkit.toml").exists():
            raise WeightsError(f"{folder.name!r} holds no labkit.toml; give a folder made by run.export(folder).")
        use_compilation_cache()
        experiment: Experiment = loads(Experiment, (folder / "labkit.toml").read_text(encoding="utf-8"))
        if not isinstance(experiment.task, Seq2Seq):
            learnt = tasks.name_of(experiment.task)
            raise WeightsError(f"{folder.name!r} has learnt {learnt!r}; only the task 'seq2seq' writes target texts.")
        module, _, inputs = load_model(experiment, folder)
        self.model, self.tokenizer, self._longest = module.trunk, inputs.tokenizer, experiment.task.max_length
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
            **settings: those of :class:`labkit.tasks.generate.Generation`: ``max_new_tokens`` (left out, 64 or as many
                as the model has positions for), ``temperature``, ``beams`` …

        Returns:
            A text for one text, a list for several.

        Raises:
            ConfigError: a setting cannot be used, or the new tokens are more than the model has positions for.
            DataError: a text is no string.
        """
        how = Generation.from_dict({"max_new_tokens": min(64, self.room), **settings})
        if how.max_new_tokens > self.room:
            raise ConfigError(
                f"max_new_tokens = {how.max_new_tokens} is more than the {self.room} this model can write."
            )
        sources = [texts] if isinstance(texts, str) else list(texts)
        if wrong := [text for text in sources if not isinstance(text, str)]:
            raise DataError(f"a source is a text; this one is {wrong[0]!r}.")
        answers = self._write(sources, how) if sources else []
        return answers[0] if isinstance(texts, str) else answers

    def _write(self, sources: list[str], how: Generation) -> list[str]:
        rows = self.tokenizer.encode(sources, max_length=self._longest)
        wide = min(-(-int(rows.lengths.max()) // STEP) * STEP, self.model.config.max_length)
        ids = np.full((len(sources), wide), self.tokenizer.pad_id, np.int32)
        for place, (start, end) in enumerate(zip(rows.offsets[:-1], rows.offsets[1:], strict=True)):
            ids[place, : end - start] = rows.ids[start:end]
        real = np.arange(wide)[None] < rows.lengths[:, None]
        written = self._compiled(ids.shape, how.replace(seed=0))(self._state, ids, real, jax.random.key(how.seed))
        made = jax.device_get(written)
        return [self.tokenizer.decode(row[:length]) for row, length in zip(made.ids, made.length, strict=True)]

    def _function(self, shape: tuple[int, int], how: Generation) -> Any:
        first, end = self.tokenizer.cls_id, self.tokenizer.sep_id  # as in training: [CLS] target [SEP]

        @jax.jit
        def run(state: Any, ids: jax.Array, real: jax.Array, key: jax.Array) -> Any:
            model = nnx.merge(self._graph, state)

            cache = model.start(model.encode(ids, real), real, 1 + how.max_new_tokens)
            begin, count = jnp.full((shape[0], 1), first, jnp.int32), jnp.ones(shape[0], jnp.int32)
            return write(step_of(model), begin, count, cache, end, how, key)

        return run
