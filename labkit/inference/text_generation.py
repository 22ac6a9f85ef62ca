"""Text generation with a language model: continuing prompts, and chat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from labkit.core.errors import ConfigError, DataError
from labkit.i18n import _
from labkit.inference.pipeline import GenerationPipeline
from labkit.models import weights
from labkit.models.base import Capability
from labkit.tasks.decoding import Generation, step_of, write
from labkit.tasks.lm import LanguageModel

#: The tokens that stand around a message of a talk (ChatML), and who may say one.
TURN, OVER = "<|im_start|>", "<|im_end|>"
SPEAKERS = ("system", "user", "assistant")
#: What a talk begins with where nobody says otherwise.
SYSTEM = "You are a helpful assistant."


class TextGenerationPipeline(GenerationPipeline):
    """A language model that a run has written or exported, or pretrained weights of one ("smollm2-135m").

    A text ends at any end token that ``generation_config.json`` or ``config.json`` names; without one there, at the end
    token of the tokenizer.
    """

    task, pretrained, noun = LanguageModel, Capability.CAUSAL, _("prompt")

    def _check_loaded(self, report: weights.LoadReport) -> None:
        report.check_whole()

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
        return self._answers(prompts, Generation.from_dict(settings))

    __call__ = generate

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
        return self._continue([self.chat_ids(messages)], (self.tokenizer.special(OVER) or 0,), how)[0].strip()

    def chat_ids(self, messages: str | Sequence[Mapping[str, str]]) -> np.ndarray:
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

    def _write(self, texts: list[str], how: Generation) -> list[str]:
        return self._continue([self.ids_of(text) for text in texts], self.tokenizer.end_ids, how)

    def _continue(self, prompts: list[np.ndarray], ends: tuple[int, ...], how: Generation) -> list[str]:
        """What the model writes after prompts of token ids, up to one of ``ends``."""
        longest, room = max(map(len, prompts)), self.model.config.max_length
        if longest + how.max_new_tokens > room:
            raise ConfigError(
                _(
                    "a prompt of {longest} tokens plus {max_new_tokens} new tokens exceeds the {room} "
                    "positions of this model. Shorten the prompt or reduce max_new_tokens."),
                longest=longest, max_new_tokens=how.max_new_tokens, room=room,
            )  # fmt: skip
        ids = self._padded(prompts, room - how.max_new_tokens)
        count = np.array([len(prompt) for prompt in prompts], np.int32)
        made = jax.device_get(self._written(ends, how.replace(seed=0))(ids, count, jax.random.key(how.seed)))
        return [self.tokenizer.decode(row[:length]) for row, length in zip(made.ids, made.length, strict=True)]

    def _pieces(self, text: str) -> np.ndarray:
        return np.array(self.tokenizer.numbers(text), np.int32)

    def ids_of(self, text: str) -> np.ndarray:
        """The ids of a prompt; of an empty one the token that ends a text, after which another begins."""
        found = self.tokenizer.prompt(text)
        return found if len(found) else np.array([self.tokenizer.end_id], np.int32)

    def _function(self, ends: tuple[int, ...], how: Generation) -> Callable[..., Any]:
        def run(model: Any, ids: jax.Array, count: jax.Array, key: jax.Array) -> Any:
            cache = model.start(len(ids), ids.shape[1] + how.max_new_tokens)
            return write(step_of(model), ids, count, cache, ends, how, key)

        return run
