"""Special tokens of a vocabulary: from the files of a folder, or by common names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit.core.errors import DataError
from labkit.i18n import _

#: Roles of special tokens and the names they go by, BERT's first. GPT-2's vocabulary has one for all but the
#: mask.
ROLES = {
    "pad": ("[PAD]", "<pad>", "<|pad|>", "<|finetune_right_pad_id|>", "<|endoftext|>"),
    "unk": ("[UNK]", "<unk>", "<|endoftext|>"),
    "cls": ("[CLS]", "<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "<|endoftext|>"),
    "sep": ("[SEP]", "</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>", "<|eot_id|>", "<|im_end|>"),
    "mask": ("[MASK]", "<mask>"),
}
#: A name that is a guess only where the files of a folder name no special token at all.
_SHARED = "<|endoftext|>"
#: Roles as ``tokenizer_config.json`` names them (``pad_token`` …).
NAMED = ("pad", "unk", "cls", "sep", "mask", "bos", "eos")
# Encoders write no text: the begin and end ids of their config.json are defaults that mean nothing.
_ENCODERS = ("bert", "roberta", "xlm-roberta", "distilbert", "camembert", "electra", "mpnet")


@dataclass(frozen=True)
class Said:
    """What the files of a folder say about special tokens.

    Attributes:
        names: role → name of the token; None where a file says that there is none.
        ids: key of ``generation_config.json`` or ``config.json`` → its ids.
        chat_template: the Jinja template of a conversation.
    """

    names: Mapping[str, str | None] = field(default_factory=dict)
    ids: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    chat_template: Any = None


@dataclass(frozen=True)
class Special:
    """Ids of special tokens by role; None where the vocabulary has none.

    Attributes:
        ends: tokens that end a text which a model writes.
        start: the token that a decoder of target texts begins with.
        forced_first, forced_last: tokens that a decoder of target texts has to write first, and at the last
            place.
    """

    pad: int | None
    unk: int | None
    cls: int | None
    sep: int | None
    mask: int | None
    bos: int | None
    eos: int | None
    ends: tuple[int, ...]
    start: int | None
    forced_first: int | None
    forced_last: int | None


def read(folder: Path) -> Said:
    """Names and ids of special tokens that a folder's files give; ``tokenizer_config.json`` comes first."""
    config, by_name = json_of(folder / "tokenizer_config.json"), json_of(folder / "special_tokens_map.json")
    names: dict[str, str | None] = {}
    for role in NAMED:
        for source in (config, by_name):
            if f"{role}_token" in source:
                value = source[f"{role}_token"]
                names[role] = value.get("content") if isinstance(value, dict) else value
                break
    template = folder / "chat_template.jinja"
    chat = template.read_text("utf-8") if template.is_file() else config.get("chat_template")
    return Said(
        {role: name for role, name in names.items() if name is None or isinstance(name, str)},
        _ids(folder),
        chat,
    )


def _ids(folder: Path) -> dict[str, tuple[int, ...]]:
    """Ids of ``config.json`` and, before them, ``generation_config.json``; of a model that writes text only."""
    config = json_of(folder / "config.json")
    if config.get("model_type") in _ENCODERS:
        config = {"pad_token_id": config.get("pad_token_id")}
    merged = {
        **config,
        **{key: v for key, v in json_of(folder / "generation_config.json").items() if v is not None},
    }
    found: dict[str, tuple[int, ...]] = {}
    for key in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id",
                "forced_bos_token_id", "forced_eos_token_id"):  # fmt: skip
        value = merged.get(key)
        numbers = tuple(value) if isinstance(value, list) else (value,)
        if all(type(number) is int and number >= 0 for number in numbers) and numbers:
            found[key] = numbers
    if "eos_token_id" not in found:  # without an end it says nothing of how texts are written
        found = {key: found[key] for key in found if key == "pad_token_id"}
    return found


def json_of(path: Path) -> dict[str, Any]:
    """A JSON file's table, empty where there is no such file.

    Raises:
        DataError: the file is not a JSON object.
    """
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            _("{file} in {folder!r} cannot be read: {error}"),
            file=path.name,
            folder=str(path.parent),
            error=error,
        ) from None
    if not isinstance(value, dict):
        raise DataError(
            _("{file} in {folder!r} contains a {type}, not a table of settings."),
            file=path.name, folder=str(path.parent), type=type(value).__name__,
        )  # fmt: skip
    return value


def resolve(
    said: Said,
    id_of: Callable[[str], int | None],
    vocab_size: int,
    before: Sequence[int] = (),
    after: Sequence[int] = (),
) -> Special:
    """The ids of every role: by the names that files give, by the tokens that the post-processor puts
    ``before`` and ``after`` a text, by usual names, and last by the ids that files give."""
    named = any(said.names.values())

    def by_name(role: str) -> int | None:
        name = said.names.get(role)
        return id_of(name) if name else None

    def guess(role: str) -> int | None:
        if role in said.names and said.names[role] is None:
            return None
        names = (name for name in ROLES[role] if not (named and name == _SHARED))
        return next((number for name in names if (number := id_of(name)) is not None), None)

    def by_id(key: str) -> tuple[int, ...]:
        return tuple(number for number in said.ids.get(key, ()) if number < vocab_size)

    def first(*found: int | None) -> int | None:
        return next((number for number in found if number is not None), None)

    bos, eos = by_name("bos"), by_name("eos")
    ends = by_id("eos_token_id")
    if eos is None and ends:
        eos = ends[0]
    if bos is None:
        bos = next(iter(by_id("bos_token_id")), None)
    sep = first(by_name("sep"), by_name("eos"), *after, guess("sep"), eos)
    no_start = said.names.get("bos", "") is None and not said.names.get("cls")
    cls = first(by_name("cls"), by_name("bos"), *before, None if no_start else guess("cls"), bos)
    pad = first(by_name("pad"), guess("pad"), *by_id("pad_token_id"))
    eos, bos = first(eos, sep), first(bos, cls)
    ends = ends or (() if eos is None else (eos,))
    start = first(*by_id("decoder_start_token_id"), bos, cls, pad)
    return Special(
        pad, first(by_name("unk"), guess("unk")), cls, sep, first(by_name("mask"), guess("mask")), bos,
        eos if eos in ends else next(iter(ends), None), ends, start,
        next(iter(by_id("forced_bos_token_id")), None), next(iter(by_id("forced_eos_token_id")), None),
    )  # fmt: skip
