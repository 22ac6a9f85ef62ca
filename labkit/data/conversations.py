"""Conversations: pairs of a prompt and a response, or lists of messages, as rows for supervised fine-tuning.

The columns of such rows are ``text``, what precedes the last response; ``text_pair``, that response; and, where there
is more before it than one message of the user, ``chat_messages``, the whole conversation as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from datasets import Dataset, Value

from labkit.core.errors import DataError
from labkit.data.arrow import column, nested, numbers
from labkit.data.columns import Choice, check_columns, names_of
from labkit.data.io.arrow_cache import Part
from labkit.data.report import Report, visible
from labkit.i18n import _

#: Columns of the rows, see above.
TEXT, PAIR, MESSAGES = "text", "text_pair", "chat_messages"
#: Usual names of a column of messages, and of the columns of prompts and responses.
NAMES = ("messages", "conversations", "conversation")
PROMPTS = (
    ("prompt", "response"),
    ("prompt", "completion"),
    ("instruction", "response"),
    ("instruction", "output"),
)
#: Other names of roles and keys in files of conversations.
_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant"}
_ROLE_KEYS, _CONTENT_KEYS = ("role", "from"), ("content", "value")

Talk = list[dict[str, str]]


def transcript(talk: Sequence[Mapping[str, str]]) -> str:
    """What precedes a response, as one text: the user's message where it is the only one, else a line a message."""
    if len(talk) == 1 and talk[0]["role"] == "user":
        return talk[0]["content"]
    return "\n".join(f"{each['role']}: {each['content']}" for each in talk)


def conversations_of(dataset: Dataset) -> list[Talk]:
    """The conversation of every row, which ends with a message of the assistant.

    Raises:
        DataError: there are no pairs, or cleaning has changed the text of a conversation of several messages.
    """
    if PAIR not in dataset.column_names:
        raise DataError(
            _('instruction tuning needs prompts and responses: lk.load(..., text=("prompt", "response"), label=False) '
              'or lk.load(..., messages="messages").'),
        )  # fmt: skip
    kept = dataset[MESSAGES] if MESSAGES in dataset.column_names else [""] * len(dataset)
    talks = []
    for place, (prompt, response, whole) in enumerate(zip(dataset[TEXT], dataset[PAIR], kept, strict=True)):
        talk = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        if whole:
            talk = json.loads(whole)
            if (transcript(talk[:-1]), talk[-1]["content"]) != (prompt, response):
                raise DataError(
                    _("row {row}: cleaning changed a conversation of several messages, which is read as it was "
                      "loaded. Clean the messages before lk.load."),
                    row=int(numbers(dataset.select([place]), "row")[0]),
                )  # fmt: skip
        talks.append(talk)
    return talks


def conversation_column(table: Dataset, choice: Choice, report: Report) -> str | None:
    """The column of messages: as given, or by default a column of lists of messages with a usual name."""
    if choice.messages is not None:
        check_columns(table, [choice.messages], "train")
        return choice.messages
    if not _open(choice):
        return None
    schema = table.data.table.schema
    found = [name for name in names_of(table) if name.casefold() in NAMES and nested(schema.field(name).type)]
    if len(found) != 1 or _talk(column(table, found[0])[0].as_py())[1]:
        return None
    report.add(
        "counted", _("conversations detected"), column=found[0], detail=_('set them with messages="…"')
    )
    return found[0]


def prompt_columns(table: Dataset, choice: Choice, report: Report) -> tuple[str, str] | None:
    """The columns of prompts and responses, where a table has columns of these names and nothing else is given."""
    if not _open(choice):
        return None
    names = {name.casefold(): name for name in names_of(table)}
    for pair in PROMPTS:
        if all(name in names for name in pair):
            prompt, response = (names[name] for name in pair)
            report.add(
                "counted", _("prompts and responses detected"), column=f"{prompt}, {response}",
                detail=_('set them with text=("…", "…"), label=False'),
            )  # fmt: skip
            return prompt, response
    return None


def _open(choice: Choice) -> bool:
    """Whether the caller leaves the columns of texts to be detected."""
    given = choice.text, choice.label, choice.number, choice.answer, choice.tags, choice.features
    return choice.kind == "text" and all(each in (None, (), False) for each in given) and choice.label is None


def with_conversations(
    parts: Mapping[str, Part], name: str, rows: Mapping[str, np.ndarray], report: Report
) -> tuple[dict[str, Part], dict[str, np.ndarray]]:
    """The tables with columns ``text``, ``text_pair`` and ``chat_messages`` in place of one of messages, and the rows
    that cannot be used, bool[n]; these are reported."""
    made, bad = {}, {}
    for split, part in parts.items():
        check_columns(part.table, (name,), split)
        bad[split] = np.zeros(len(part.table), bool)
        texts, pairs, kept = [], [], []
        for place, value in enumerate(column(part.table, name).to_pylist()):
            talk, reason = _talk(value)
            if reason:
                bad[split][place] = True
                report.add(
                    "refused", reason[0], rows[split][place : place + 1], column=name, detail=reason[1], split=split
                )  # fmt: skip
                talk = [{"role": "user", "content": "-"}, {"role": "assistant", "content": "-"}]
            texts.append(transcript(talk[:-1]))
            pairs.append(talk[-1]["content"])
            kept.append("" if len(talk) == 2 else json.dumps(talk, ensure_ascii=False))
        dropped = [
            each for each in dict.fromkeys((name, TEXT, PAIR, MESSAGES)) if each in part.table.column_names
        ]
        table = part.table.remove_columns(dropped)
        for column_name, values in ((TEXT, texts), (PAIR, pairs), (MESSAGES, kept)):
            table = table.add_column(column_name, values, feature=Value("string"))
        made[split] = replace(part, table=table)
    return made, bad


def is_conversation(value: Any) -> bool:
    """Whether a cell holds messages that can be used."""
    return _talk(value)[1] is None


def _talk(value: Any) -> tuple[Talk, tuple[str, str] | None]:
    """The messages of a cell, up to the last one of the assistant; and why they cannot be used, with the value."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return [], (_("not a list of messages"), repr(visible(value, 60)))
    if not isinstance(value, list) or not value:
        return [], (_("not a list of messages"), repr(visible(str(value), 60)))
    talk: Talk = []
    for message in value:
        known = isinstance(message, dict)
        role = next((message[key] for key in _ROLE_KEYS if message.get(key)), None) if known else None
        content = next((message[key] for key in _CONTENT_KEYS if message.get(key)), None) if known else None
        role = _ROLES.get(role, role) if isinstance(role, str) else None
        if role not in ("system", "user", "assistant"):
            return [], (_("message of an unknown role"), repr(visible(str(message), 60)))
        if not isinstance(content, str) or not content.strip():
            return [], (_("message without content"), repr(visible(str(message), 60)))
        talk.append({"role": role, "content": content})
    spoken = [each["role"] for each in talk if each["role"] != "system"]
    if "system" in [each["role"] for each in talk[1:]]:
        return [], (_("system message that is not the first"), "")
    if spoken[:1] != ["user"] or any(one == other for one, other in pairwise(spoken)):
        return [], (_("user and assistant do not take turns"), ", ".join(spoken[:8]))
    if spoken[-1] == "user":
        talk = talk[:-1]  # the model learns from messages of the assistant alone
    if len(talk) < 2 or talk[-1]["role"] != "assistant":
        return [], (_("no message of the assistant"), "")
    return talk, None
