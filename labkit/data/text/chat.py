"""Conversations as texts and token ids, by the chat template of a tokenizer's folder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labkit.core.errors import ConfigError, DataError
from labkit.data.text.tokenizer import READ, Tokenizer
from labkit.i18n import _

Messages = Sequence[Mapping[str, str]]
#: Who may write a message.
ROLES = ("system", "user", "assistant")
#: Seconds that rendering may take.
PATIENCE = 60
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


def ids(tokenizer: Tokenizer, talk: Messages, prompt: bool = True) -> np.ndarray:
    """The ids i32[t] of a conversation. Special tokens are those of the template; what a message spells stays
    text.

    Raises: as :func:`render`.
    """
    check(talk)
    names = sorted(filter(None, tokenizer.names(np.flatnonzero(tokenizer.reserved))), key=len, reverse=True)
    special = re.compile("|".join(map(re.escape, names)) or r"(?!)")
    hidden: list[str] = []

    def hide(found: re.Match[str]) -> str:
        hidden.append(found[0])
        return f"\ue000{len(hidden) - 1}\ue001"

    def restore(text: str) -> str:
        for number, name in enumerate(hidden):
            text = text.replace(f"\ue000{number}\ue001", name)
        return text

    (text,) = render(
        tokenizer, [[{**each, "content": special.sub(hide, each["content"])} for each in talk]], prompt
    )
    made: list[int] = []
    place = 0
    for found in special.finditer(text):
        made += tokenizer.numbers(restore(text[place : found.start()]))
        number = tokenizer.special(found[0])
        made += [] if number is None else [number]
        place = found.end()
    return np.array([*made, *tokenizer.numbers(restore(text[place:]))], np.int32)
