"""Text generation with a language model on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from labkit.core.errors import ConfigError, DataError
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.inference.folders import is_folder, opened
from labkit.models import models, weights
from labkit.tasks.decoding import Generation, step_of, write
from labkit.tasks.lm import LanguageModel
from labkit.train.compilation import use_compilation_cache

#: Prompts are filled up to a multiple of so many tokens, so that few lengths are compiled.
STEP = 32
#: The tokens that stand around a message of a talk (ChatML), and who may say one.
TURN, OVER = "<|im_start|>", "<|im_end|>"
SPEAKERS = ("system", "user", "assistant")
#: What a talk begins with where nobody says otherwise.
SYSTEM = "You are a helpful assistant."


class Generator:
    """A language model that a run has written or exported, or pretrained weights of one.

    A text ends at any end token that ``generation_config.json`` or ``config.json`` names; without one there, at the end
    token of the tokenizer.

    Args:
        source: a folder of labkit's; or weights as an architecture takes them: a sample ("smollm2-135m"), a folder in
            the Hugging Face layout, or "org/name@revision".

    Raises:
        WeightsError: there are no such weights, they are of another kind of model, or parameters are missing.
    """

    def __init__(self, source: str | Path):
        use_compilation_cache()
        self._clean: Callable[[str], str] = str  # of a run: as its training texts were cleaned
        if is_folder(source):
            experiment, module, inputs = opened(source, LanguageModel, "a language model ('lm') writes on")
            self._clean = experiment.data.clean
            self.model, self.tokenizer = module.trunk, inputs.tokenizer
        else:
            config = models["gpt"](weights=str(source))
            self.model = nnx.eval_shape(lambda: config.build(nnx.Rngs(0)))
            config.load(self.model).check_whole()
            self.tokenizer = Tokenizer.load(weights.find(str(source)))
        self._graph, self._state = nnx.split(self.model)
        self._compiled = lru_cache(maxsize=32)(self._function)

    def __repr__(self) -> str:
        return f"<generator: {type(self.model).__name__}, {self.tokenizer.vocab_size} pieces>"

    @property
    def room(self) -> int:
        """Tokens that may be written after a prompt of one."""
        return self.model.config.max_length - 1

    def generate(self, prompts: str | Sequence[str], **settings: Any) -> Any:
        """What the model writes after prompts, without them.

        Args:
            prompts: a text, or several.
            **settings: those of :class:`~labkit.tasks.decoding.Generation`: ``max_new_tokens``, ``temperature``,
                ``top_k``, ``top_p``, ``beams``, ``seed`` …

        Returns:
            A text for one prompt, a list for several. A text ends where the model ends it, or after ``max_new_tokens``.

        Raises:
            ConfigError: a setting cannot be used, or prompt and new tokens are more than the model has positions for.
            DataError: a prompt is not a string.
        """
        how = Generation.from_dict(settings)
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        if not texts:
            return []
        if wrong := [text for text in texts if not isinstance(text, str)]:
            raise DataError(_("a prompt must be a string, not {wrong!r}."), wrong=wrong[0])
        answers = self._write([self._ids(self._clean(text)) for text in texts], self.tokenizer.end_ids, how)
        return answers[0] if isinstance(prompts, str) else answers

    def chat(self, messages: str | Sequence[Mapping[str, str]], **settings: Any) -> str:
        """The answer of a model that was taught to talk in the form of ChatML, as "smollm2-135m" was.

        Args:
            messages: a question; or the talk so far, a list of ``{"role": "user", "content": "…"}``, where the role is
                "system", "user" or "assistant". Without a system's message the talk begins with :data:`SYSTEM`.
            **settings: as for :meth:`generate`.

        Raises:
            ConfigError: the model was not taught to talk so; or as for :meth:`generate`.
            DataError: a message has no role that is known, or no content.
        """
        how = Generation.from_dict(settings)
        return self._write([self._talk(messages)], (self.tokenizer.special(OVER) or 0,), how)[0].strip()

    def _talk(self, messages: str | Sequence[Mapping[str, str]]) -> np.ndarray:
        """The tokens of a talk, up to where the assistant begins to speak."""
        begin, end = (self.tokenizer.special(name) for name in (TURN, OVER))
        if begin is None or end is None:
            raise ConfigError(
                _("this is not a chat model: its tokenizer has no {turn} and {over}. Use generate."),
                turn=TURN,
                over=OVER,
            )
        talk = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
        for turn in talk:
            if turn.get("role") not in SPEAKERS or not isinstance(turn.get("content"), str):
                raise DataError(
                    _("a message needs a role ({known}) and content; got {turn!r}."),
                    known=", ".join(SPEAKERS),
                    turn=turn,
                )
        if not talk or talk[0]["role"] != "system":
            talk = [{"role": "system", "content": SYSTEM}, *talk]
        said = [self._pieces(f"{turn['role']}\n{turn['content']}") for turn in talk]
        newline = self._pieces("\n")
        parts = [part for each in said for part in ([begin], each, [end], newline)]
        return np.concatenate([*parts, [begin], self._pieces("assistant\n")]).astype(np.int32)

    def _write(self, numbers: Sequence[np.ndarray], ends: tuple[int, ...], how: Generation) -> list[str]:
        """What the model writes after prompts of token ids, up to one of ``ends``."""
        longest = max(map(len, numbers))
        room = self.model.config.max_length
        if longest + how.max_new_tokens > room:
            raise ConfigError(
                _(
                    "a prompt of {longest} tokens plus {max_new_tokens} new tokens exceeds the {room} "
                    "positions of this model. Shorten the prompt or reduce max_new_tokens."),
                longest=longest, max_new_tokens=how.max_new_tokens, room=room,
            )  # fmt: skip
        wide = min(-(-longest // STEP) * STEP, room - how.max_new_tokens)
        ids = np.full((len(numbers), wide), self.tokenizer.pad_id, np.int32)
        for row, found in zip(ids, numbers, strict=True):
            row[: len(found)] = found
        count = np.array([len(found) for found in numbers], np.int32)
        key = jax.random.key(how.seed)
        written = self._compiled(ids.shape, ends, how.replace(seed=0))(self._state, ids, count, key)
        made = jax.device_get(written)
        return [self.tokenizer.decode(row[:length]) for row, length in zip(made.ids, made.length, strict=True)]

    def _pieces(self, text: str) -> np.ndarray:
        return np.array(self.tokenizer.numbers(text), np.int32)

    def _ids(self, text: str) -> np.ndarray:
        """The ids of a prompt; of an empty one the token that ends a text, after which another begins."""
        found = self.tokenizer.prompt(text)
        return found if len(found) else np.array([self.tokenizer.end_id], np.int32)

    def _function(self, shape: tuple[int, int], ends: tuple[int, ...], how: Generation) -> Any:
        @jax.jit
        def run(state: Any, ids: jax.Array, count: jax.Array, key: jax.Array) -> Any:
            model = nnx.merge(self._graph, state)

            cache = model.start(shape[0], shape[1] + how.max_new_tokens)
            return write(step_of(model), ids, count, cache, ends, how, key)

        return run
