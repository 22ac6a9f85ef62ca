"""Conversations as texts and token ids, by the chat template of a tokenizer's folder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labkit.core.errors import ConfigError, DataError
from labkit.data.text.tokenizer import READ, Tokenizer
from labkit.i18n import _

Messages = Sequence[Mapping[str, str]]
#: Who may write a message.
ROLES = ("system", "user", "assistant")
#: Seconds that rendering may take.
PATIENCE = 60
#: Conversations that are rendered in one process.
PORTION = 2000
_RENDER = Path(__file__).with_name("chat_render.py")


def template_of(tokenizer: Tokenizer) -> str | None:
    """The Jinja template of a tokenizer's folder; of several the one that is called "default"; None without
    any.

    Raises:
        ConfigError: it is no text.
    """
    found = tokenizer.chat_template
    if isinstance(found, list):
        named = {each.get("name"): each.get("template") for each in found if isinstance(each, dict)}
        found = named.get("default")
    if found is not None and not isinstance(found, str):
        raise ConfigError(_("chat_template is a {type}, not a text."), type=type(found).__name__)
    return found


def render(tokenizer: Tokenizer, conversations: Sequence[Messages], prompt: bool = True) -> list[str]:
    """The texts of conversations.

    Args:
        tokenizer: whose folder has a template.
        conversations: each a list of ``{"role": …, "content": …}``.
        prompt: whether to end with the beginning of the assistant's answer.

    Raises:
        ConfigError: there is no template, or it fails.
        DataError: a message has no role that is known, or no content.
    """
    if (template := template_of(tokenizer)) is None:
        raise ConfigError(_("the tokenizer has no chat template."))
    for talk in conversations:
        check(talk)
    roles = {f"{role}_token": name for role, name in tokenizer.role_names.items()}
    request = {
        "template": template, "conversations": [[dict(each) for each in talk] for talk in conversations],
        "names": {**roles, "add_generation_prompt": prompt}, "most": READ,
    }  # fmt: skip
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_RENDER)], input=json.dumps(request), capture_output=True, text=True,
            timeout=PATIENCE, encoding="utf-8",
        )  # fmt: skip
        answer: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        answer = {"error": _("it needs more time or memory than allowed")}
    if "error" in answer:
        raise ConfigError(_("the chat template of this model fails: {error}."), error=answer["error"])
    return list(answer["texts"])


def check(talk: Messages) -> None:
    """Raise :class:`DataError` for a message without a known role or content."""
    for message in talk:
        if message.get("role") not in ROLES or not isinstance(message.get("content"), str):
            raise DataError(
                _("a message needs a role ({known}) and content; got {turn!r}."),
                known=", ".join(ROLES),
                turn=message,
            )


class Encoded(NamedTuple):
    """Tokens of a conversation: ``ids`` i32[t]; ``learnt`` bool[t], True at the tokens of the assistant's messages,
    from the first one that the model generates to the special token that ends the message."""

    ids: np.ndarray
    learnt: np.ndarray


def ids(tokenizer: Tokenizer, talk: Messages, prompt: bool = True) -> np.ndarray:
    """The ids i32[t] of a conversation. Special tokens are those of the template; what a message spells stays
    text.

    Raises: as :func:`render`.
    """
    return all_ids(tokenizer, [talk], prompt)[0]


def all_ids(tokenizer: Tokenizer, talks: Sequence[Messages], prompt: bool = True) -> list[np.ndarray]:
    """The ids i32[t] of each conversation, as :func:`ids`; the template is rendered for many at a time."""
    plain = _Plain(tokenizer)
    for talk in talks:
        check(talk)
    found = []
    for start in range(0, len(talks), PORTION):
        texts = render(tokenizer, [plain.hidden(talk) for talk in talks[start : start + PORTION]], prompt)
        found += [np.array(plain.numbers(text), np.int32) for text in texts]
    return found


def encoded(tokenizer: Tokenizer, talks: Sequence[Messages]) -> list[Encoded]:
    """The tokens of conversations, with those that supervised fine-tuning learns.

    What precedes an assistant's message is tokenised apart from it, as it is when the model generates.

    Raises:
        ConfigError: there is no template, it fails, or it is not fit for training: it renders a message differently
            once others follow, or ends an assistant's message without a special token.
        DataError: a message has no role that is known, or no content.
    """
    for talk in talks:
        check(talk)
    plain, found = _Plain(tokenizer), []
    for start in range(0, len(talks), PORTION):
        found += _encoded(tokenizer, plain, [plain.hidden(talk) for talk in talks[start : start + PORTION]])
    return found


def _encoded(tokenizer: Tokenizer, plain: _Plain, talks: Sequence[Messages]) -> list[Encoded]:
    places = [
        (n, i) for n, talk in enumerate(talks) for i, each in enumerate(talk) if each["role"] == "assistant"
    ]
    whole = render(tokenizer, talks, prompt=False)
    before = render(tokenizer, [talks[n][:i] for n, i in places])
    after = render(tokenizer, [talks[n][: i + 1] for n, i in places], prompt=False)
    spans: list[list[tuple[int, int]]] = [[] for _talk in talks]
    for (n, _i), prompt, text in zip(places, before, after, strict=True):
        if not (text.startswith(prompt) and whole[n].startswith(text)):
            raise ConfigError(
                _("the chat template of this model renders a message differently once others follow, so that the "
                  "tokens of a response cannot be found."),
            )  # fmt: skip
        spans[n].append((len(prompt), len(text.rstrip())))
    found = []
    for text, edges in zip(whole, spans, strict=True):
        made: list[int] = []
        learnt: list[bool] = []
        end = 0
        for begin, stop in edges:
            for part, taught in ((text[end:begin], False), (text[begin:stop], True)):
                made += (numbers := plain.numbers(part))
                learnt += [taught] * len(numbers)
            if not tokenizer.reserved[made[-1]]:
                raise ConfigError(
                    _("the chat template of this model ends a response without a special token: where to stop could "
                      "not be learnt."),
                )  # fmt: skip
            end = stop
        made += (numbers := plain.numbers(text[end:]))
        learnt += [False] * len(numbers)
        found.append(Encoded(np.array(made, np.int32), np.array(learnt, bool)))
    return found


class _Plain:
    """Keeps names of special tokens that messages spell apart from those of the template."""

    def __init__(self, tokenizer: Tokenizer):
        names = sorted(
            filter(None, tokenizer.names(np.flatnonzero(tokenizer.reserved))), key=len, reverse=True
        )
        self._tokenizer = tokenizer
        self._special = re.compile("|".join(map(re.escape, names)) or r"(?!)")
        self._names: list[str] = []

    def hidden(self, talk: Messages) -> list[dict[str, str]]:
        """The messages with placeholders for special tokens that they spell."""
        return [{**each, "content": self._special.sub(self._hide, each["content"])} for each in talk]

    def numbers(self, text: str) -> list[int]:
        """The token numbers of rendered text; placeholders are read as the text that they stand for."""
        made: list[int] = []
        place = 0
        for found in self._special.finditer(text):
            made += self._tokenizer.numbers(self._restored(text[place : found.start()]))
            number = self._tokenizer.special(found[0])
            made += [] if number is None else [number]
            place = found.end()
        return [*made, *self._tokenizer.numbers(self._restored(text[place:]))]

    def _hide(self, found: re.Match[str]) -> str:
        if found[0] not in self._names:
            self._names.append(found[0])
        return f"\ue000{self._names.index(found[0])}\ue001"

    def _restored(self, text: str) -> str:
        for number, name in enumerate(self._names):
            text = text.replace(f"\ue000{number}\ue001", name)
        return text
