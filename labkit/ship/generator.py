"""A language model on disk, ready to write on."""

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
from labkit.data.text import Tokenizer
from labkit.models import models, weights
from labkit.tasks import tasks
from labkit.tasks.generate import Generation, write
from labkit.tasks.lm import LanguageModel
from labkit.train.compilation import use_compilation_cache
from labkit.train.experiment import Experiment
from labkit.train.setup import load_model

#: Prompts are filled up to a multiple of so many tokens, so that few lengths are compiled.
STEP = 32


class Generator:
    """A language model that a run has written or exported, or pretrained weights of one.

    Args:
        source: a folder of labkit's; or weights as an architecture takes them: a sample ("smollm2-135m"), a folder in
            the Hugging Face layout, or "org/name@revision".

    Raises:
        WeightsError: there are no such weights, or they are of another kind of model.
    """

    def __init__(self, source: str | Path):
        use_compilation_cache()
        if (Path(source) / "labkit.toml").exists():
            folder = Path(source)
            experiment: Experiment = loads(Experiment, (folder / "labkit.toml").read_text(encoding="utf-8"))
            if not isinstance(experiment.task, LanguageModel):
                learnt = tasks.name_of(experiment.task)
                raise WeightsError(f"{folder.name!r} has learnt {learnt!r}; only a language model ('lm') writes on.")
            module, _, inputs = load_model(experiment, folder)
            self.model, self.tokenizer = module.trunk, inputs.tokenizer
        else:
            config = models["gpt"](weights=str(source))
            self.model = nnx.eval_shape(lambda: config.build(nnx.Rngs(0)))
            config.load(self.model)
            self.tokenizer = Tokenizer.load(weights.find(str(source)))
        self._graph, self._state = nnx.split(self.model)
        self._compiled = lru_cache(maxsize=32)(self._function)

    def __repr__(self) -> str:
        return f"<generator: {type(self.model).__name__}, {self.tokenizer.vocab_size} pieces>"

    def generate(self, prompts: str | Sequence[str], **settings: Any) -> Any:
        """What the model writes after prompts, without them.

        Args:
            prompts: a text, or several.
            **settings: those of :class:`labkit.tasks.generate.Generation`: ``max_new_tokens``, ``temperature``,
                ``top_k``, ``top_p``, ``beams``, ``seed`` …

        Returns:
            A text for one prompt, a list for several. A text ends where the model ends it, or after ``max_new_tokens``.

        Raises:
            ConfigError: a setting cannot be used, or prompt and new tokens are more than the model has positions for.
            DataError: a prompt is no string.
        """
        how = Generation.from_dict(settings)
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        if not texts:
            return []
        if wrong := [text for text in texts if not isinstance(text, str)]:
            raise DataError(f"a prompt is a text; this one is {wrong[0]!r}.")
        numbers = [self._ids(text) for text in texts]
        longest = max(map(len, numbers))
        room = self.model.config.max_length
        if longest + how.max_new_tokens > room:
            raise ConfigError(
                f"a prompt of {longest} tokens and {how.max_new_tokens} new ones are more than the {room} positions of "
                "this model. Shorten the prompt, or set max_new_tokens."
            )
        wide = min(-(-longest // STEP) * STEP, room - how.max_new_tokens)
        ids = np.full((len(texts), wide), self.tokenizer.pad_id, np.int32)
        for row, found in zip(ids, numbers, strict=True):
            row[: len(found)] = found
        count = np.array([len(found) for found in numbers], np.int32)
        key = jax.random.key(how.seed)
        written = self._compiled(ids.shape, how.replace(seed=0))(self._state, ids, count, key)
        made = jax.device_get(written)
        answers = [self.tokenizer.decode(row[:length]) for row, length in zip(made.ids, made.length, strict=True)]
        return answers[0] if isinstance(prompts, str) else answers

    def _ids(self, text: str) -> np.ndarray:
        """The pieces of a prompt; for an empty one the piece that ends a text, after which another begins."""
        inner = self.tokenizer.encode([text], max_length=self.model.config.max_length + 2).ids[1:-1]
        return inner if len(inner) else np.array([self.tokenizer.sep_id], np.int32)

    def _function(self, shape: tuple[int, int], how: Generation) -> Any:
        end = self.tokenizer.sep_id

        @jax.jit
        def run(state: Any, ids: jax.Array, count: jax.Array, key: jax.Array) -> Any:
            model = nnx.merge(self._graph, state)

            def step(ids: jax.Array, count: jax.Array, cache: Any) -> tuple[jax.Array, Any]:
                hidden, cache = model.step(ids, count, cache)
                last = jnp.take_along_axis(hidden, jnp.maximum(count - 1, 0)[:, None, None], axis=1)[:, 0]
                return model.logits(last), cache

            cache = model.start(shape[0], shape[1] + how.max_new_tokens)
            return write(step, ids, count, cache, end, how, key)

        return run
