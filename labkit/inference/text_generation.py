"""Text generation with a language model: continuing prompts, and chat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from labkit.core.errors import ConfigError
from labkit.data.model_input import texts_of
from labkit.data.text import chat
from labkit.i18n import _
from labkit.inference.fill_mask import TokenPrediction
from labkit.inference.pipeline import GenerationPipeline, rounded_up
from labkit.models import weights
from labkit.models.base import Capability
from labkit.tasks.decoding import Drawing, Generation, begin, draw, left, step_of, write
from labkit.tasks.lm import LanguageModel

#: The tokens that stand around a message of a talk (ChatML).
TURN, OVER = "<|im_start|>", "<|im_end|>"
#: New tokens after which a stream yields.
AT_ONCE = 4
#: What a talk begins with where nobody says otherwise.
SYSTEM = "You are a helpful assistant."


class TextGenerationPipeline(GenerationPipeline):
    """A language model that a run has written or exported, or pretrained weights of one ("smollm2-135m").

    A text ends at any end token that ``generation_config.json`` or ``config.json`` names; without one there,
    at the end token of the tokenizer.
    """

    task, pretrained, noun = LanguageModel, Capability.CAUSAL, _("prompt")

    def __init__(
        self, source: str | Path, device: jax.Device | None = None, plugins: Sequence[str] = (), dtype: str = "auto"
    ):  # fmt: skip
        super().__init__(source, device, plugins, dtype)
        self._streamed = lru_cache(maxsize=8)(self._streaming)
        self._logits = self.compiled(self._next_logits)

    def _prepare(self) -> None:
        self.model = self.model.decoder()

    def _check_loaded(self, report: weights.LoadReport) -> None:
        report.check_whole()

    def generate(self, prompts: str | Sequence[str], **settings: object) -> Any:
        """What the model writes after prompts, without them.

        Args:
            prompts: a text, or several.
            **settings: those of :class:`~labkit.tasks.decoding.Generation`: ``max_new_tokens``,
                ``temperature``, ``top_k``, ``top_p``, ``beams``, ``seed`` …

        Returns:
            A text for one prompt, a list for several. A text ends where the model ends it, or after
            ``max_new_tokens``.

        Raises:
            ConfigError: a setting cannot be used, or prompt and new tokens are more than the model has
            positions for.
            DataError: a prompt is not a string.
        """
        return self._answers(prompts, Generation.from_dict(settings))

    __call__ = generate

    def stream(self, prompt: str, **settings: object) -> Iterator[str]:
        """Generate like :meth:`generate`, and yield the text so far after every few tokens; the last one is
        the text of :meth:`generate`. A beam search yields only that.

        Args:
            prompt: a text.
            **settings: as for :meth:`generate`.

        Raises: ConfigError, DataError: as :meth:`generate`.
        """
        how = Generation.from_dict(settings)
        if how.beams > 1:
            yield self.generate(prompt, **settings)
            return
        (text,) = texts_of([prompt], self.noun)
        yield from self._stream(self.ids_of(self.clean(text)), self.tokenizer.end_ids, how)

    def _stream(self, prompt: np.ndarray, ends: tuple[int, ...], how: Generation) -> Iterator[str]:
        """What the model writes after a prompt of token ids up to one of ``ends``, so far, after every few tokens."""
        key = jax.random.key(how.seed)
        ids, count = self._batch([prompt], how)
        start, go_on = self._streamed(ends, self._compiled_for(ids, how))
        drawing, shown = start(ids, count), ""
        for upto in range(AT_ONCE, how.max_new_tokens + AT_ONCE, AT_ONCE):
            drawing = go_on(drawing, key, np.int32(min(upto, how.max_new_tokens)))
            ids, length, over = jax.device_get((drawing.ids[0], drawing.length[0], drawing.over[0]))
            said = self.tokenizer.decode(ids[:length])
            last = over or upto >= how.max_new_tokens
            whole = said if last else said.rstrip("\ufffd")  # the last character may lack bytes
            if whole != shown or last:
                shown = whole
                yield whole
            if over:
                return

    def next_tokens(self, prompt: str, top: int = 10, **settings: object) -> list[TokenPrediction]:
        """The most likely next tokens after a prompt, with the probabilities that :meth:`generate` would sample
        from.

        Args:
            prompt: a text.
            top: how many, fewer where ``top_k`` or ``top_p`` leave fewer.
            **settings: as for :meth:`generate`; ``temperature`` is 1 here by default. At 0 the most likely token
                has all the probability.

        Raises: ConfigError, DataError: as :meth:`generate`; or ``top`` is below 1.
        """
        if not isinstance(top, int) or top < 1:
            raise ConfigError(_("top = {top!r} must be a whole number of 1 or more."), top=top)
        how = Generation.from_dict({"temperature": 1.0, **settings, "max_new_tokens": 1})
        (text,) = texts_of([prompt], self.noun)
        ids, count = self._batch([self.ids_of(self.clean(text))], how)
        logits = self._logits(ids, count)[:1].astype(np.float32)
        if how.temperature:
            odds = np.asarray(jax.nn.softmax(left(logits / how.temperature, how.top_k, how.top_p)))[0]
        else:
            odds = (np.arange(logits.shape[1]) == logits.argmax()).astype(np.float32)
        order = [place for place in np.argsort(-odds, kind="stable")[:top] if odds[place] > 0]
        return [TokenPrediction(self.tokenizer.decode([place]), float(odds[place])) for place in order]

    def _next_logits(self, model: Any, ids: jax.Array, count: jax.Array) -> jax.Array:
        return step_of(model)(ids, count, model.start(len(ids), ids.shape[1] + 1))[0]

    def _streaming(
        self, ends: tuple[int, ...], how: Generation
    ) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """The compiled functions that read a prompt, and that go on."""

        def start(model: Any, ids: jax.Array, count: jax.Array) -> Any:
            return begin(
                step_of(model),
                ids,
                count,
                model.start(len(ids), ids.shape[1] + how.max_new_tokens),
                ends,
                how,
            )

        def go_on(model: Any, drawing: Drawing, key: jax.Array, upto: jax.Array) -> Any:
            return draw(step_of(model), drawing, ends, how, key, upto)

        return self.compiled(start), self.compiled(go_on)

    def chat(self, messages: str | Sequence[Mapping[str, str]], **settings: object) -> str:
        """The answer of a model that was trained on conversations, such as "smollm2-135m".

        Args:
            messages: a question; or the talk so far, a list of ``{"role": "user", "content": "…"}``, where
                the role is "system", "user" or "assistant". The chat template of the model's folder makes the
                prompt; without one it is that of ChatML, which begins with :data:`SYSTEM` where there is no
                system message.
            **settings: as for :meth:`generate`.

        Raises:
            ConfigError: the model has neither, or its template fails; or as for :meth:`generate`.
            DataError: a message has no role that is known, or no content.
        """
        how = Generation.from_dict(settings)
        return self._continue([self.chat_ids(messages)], self._chat_ends, how)[0].strip()

    def stream_chat(self, messages: str | Sequence[Mapping[str, str]], **settings: object) -> Iterator[str]:
        """Answer like :meth:`chat`, and yield the answer so far after every few tokens; the last one is the answer of
        :meth:`chat`. A beam search yields only that.

        Args:
            messages: as for :meth:`chat`.
            **settings: as for :meth:`generate`.

        Raises: ConfigError, DataError: as :meth:`chat`.
        """
        how = Generation.from_dict(settings)
        if how.beams > 1:
            yield self.chat(messages, **settings)
            return
        for text in self._stream(self.chat_ids(messages), self._chat_ends, how):
            yield text.strip()

    @property
    def _chat_ends(self) -> tuple[int, ...]:
        """Tokens that end an answer in a chat."""
        over = self.tokenizer.special(OVER)
        return self.tokenizer.end_ids if over is None else (*self.tokenizer.end_ids, over)

    def chat_text(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], prompt: bool = False
    ) -> list[str]:
        """The texts of conversations by the chat template of the model, such as rows of instruction data.

        Args:
            conversations: each a list of messages as for :meth:`chat`.
            prompt: whether to end with the beginning of the assistant's answer.

        Raises: ConfigError, DataError: as :meth:`chat`; or the model has no template.
        """
        return chat.render(self.tokenizer, conversations, prompt)

    def chat_ids(self, messages: str | Sequence[Mapping[str, str]]) -> np.ndarray:
        """The tokens of a talk, up to where the assistant begins to speak: by the chat template of the model,
        without one in the form of ChatML."""
        talk: list[Any] = (
            [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
        )
        chat.check(talk)
        talk = [{**each, "content": self.clean(each["content"])} for each in talk]
        if chat.template_of(self.tokenizer) is not None:
            return chat.ids(self.tokenizer, talk)
        begin, end = (self.tokenizer.special(name) for name in (TURN, OVER))
        if begin is None or end is None:
            raise ConfigError(
                _("this is not a chat model: its tokenizer has no {turn} and {over}. Use generate."),
                turn=TURN,
                over=OVER,
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
        ids, count = self._batch(prompts, how)
        written = self._written(ends, self._compiled_for(ids, how))
        made = jax.device_get(written(ids, count, jax.random.key(how.seed), np.int32(how.max_new_tokens)))
        found = zip(made.ids, made.length[: len(prompts)], strict=False)
        return [self.tokenizer.decode(row[:length]) for row, length in found]

    def _compiled_for(self, ids: np.ndarray, how: Generation) -> Generation:
        """The settings that are compiled in: of one of few numbers of new tokens, but for a beam search."""
        if how.beams > 1:
            return how.replace(seed=0)
        most = min(rounded_up(how.max_new_tokens, self.STEP), self.model.config.max_length - ids.shape[1])
        return how.replace(seed=0, max_new_tokens=most)

    def _batch(self, prompts: list[np.ndarray], how: Generation) -> tuple[np.ndarray, np.ndarray]:
        """Prompts of token ids as one array i32[b, t], of few sizes, and their lengths, 0 in rows of no prompt.
        Raises :class:`ConfigError` where the model has too few positions."""
        longest, room = max(map(len, prompts)), self.model.config.max_length
        if longest + how.max_new_tokens > room:
            raise ConfigError(
                _(
                    "a prompt of {longest} tokens plus {max_new_tokens} new tokens exceeds the {room} "
                    "positions of this model. Shorten the prompt or reduce max_new_tokens."),
                longest=longest, max_new_tokens=how.max_new_tokens, room=room,
            )  # fmt: skip
        if how.beams == 1:
            prompts = prompts + [prompts[0][:0]] * (rounded_up(len(prompts)) - len(prompts))
        count = np.array([len(prompt) for prompt in prompts], np.int32)
        return self._padded(prompts, room - how.max_new_tokens), count

    def _pieces(self, text: str) -> np.ndarray:
        return np.array(self.tokenizer.numbers(text), np.int32)

    def ids_of(self, text: str) -> np.ndarray:
        """The ids of a prompt; of an empty one the token that ends a text, after which another begins."""
        found = self.tokenizer.prompt(text)
        return found if len(found) else np.array([self.tokenizer.end_id], np.int32)

    def _function(self, ends: tuple[int, ...], how: Generation) -> Callable[..., Any]:
        def run(model: Any, ids: jax.Array, count: jax.Array, key: jax.Array, upto: jax.Array) -> Any:
            cache = model.start(len(ids), ids.shape[1] + how.max_new_tokens)
            return write(step_of(model), ids, count, cache, ends, how, key, upto)

        return run
