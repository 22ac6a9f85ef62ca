"""Tokenizer files in Hugging Face format: reading and writing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, normalizers

from labkit.core.cache import write_atomic
from labkit.core.errors import DataError
from labkit.data.text import limits, special_tokens
from labkit.data.text.special_tokens import NAMED, ROLES, Said, Special, json_of
from labkit.data.text.vocabulary import from_list, from_merges
from labkit.i18n import _

#: What is read, the first that is there; a vocabulary with merges needs both files.
FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "encoder.json")
_MERGES = {"vocab.json": "merges.txt", "encoder.json": "vocab.bpe"}
_SENTENCEPIECE = ("*.model", "*.spm")
# Classes and model types whose vocab.json and merges.txt are read as GPT-2 reads them, or vocab.txt as BERT
# reads it.
_BYTE_LEVEL = ("gpt2", "roberta", "bart", "longformer", "led")
_WORDPIECE = ("bert", "distilbert", "electra", "mobilebert", "convbert", "funnel", "layoutlm", "splinter")
_GENERIC = ("PreTrainedTokenizerFast", "TokenizersBackend")


def read(path: Path) -> tuple[tokenizers.Tokenizer, Said]:
    """The tokenizer of a folder or of one of its files, and what the files around it say about special
    tokens.

    Raises:
        DataError: there is no such file, it cannot be read, or it is of a kind that labkit does not read.
    """
    file = next((path / name for name in FILES if (path / name).is_file()), path)
    folder = file.parent
    if any(file.match(kind) for kind in _SENTENCEPIECE):
        raise DataError(_unread(file))
    if not file.is_file() or (file.name in _MERGES and not (folder / _MERGES[file.name]).is_file()):
        raise DataError(_missing(path if path.is_dir() else folder, path))
    options, said = json_of(folder / "tokenizer_config.json"), special_tokens.read(folder)
    try:
        if file.name in _MERGES:
            rust = _merged(file, options, said)
        elif file.suffix == ".json":
            rust = tokenizers.Tokenizer.from_file(str(file))
            _normalise(rust, options)
            limits.check(rust)
        else:
            _check_class(file, options, "", _WORDPIECE, "BERT")  # models of many types have BERT's
            rust = from_list(file, options)
        _add(rust, folder, options)
    except DataError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not limits.is_rust(error):
            raise
        raise DataError(
            _("{file} in {folder!r} is not a tokenizer: {error}"),
            file=file.name,
            folder=str(folder),
            error=error,
        ) from None
    return rust, said


def _missing(folder: Path, path: Path) -> str:
    pieces = (
        sorted({file for kind in _SENTENCEPIECE for file in folder.glob(kind)}) if folder.is_dir() else []
    )
    if pieces:
        return _unread(pieces[0])
    there = (
        ", ".join(sorted(item.name for item in path.iterdir())[:20]) if path.is_dir() else _("no such path")
    )
    if lacking := [merges for name, merges in _MERGES.items() if (folder / name).is_file()]:
        return _(
            "{folder!r} has a vocabulary without {lacking}. Download or copy the folder again.",
            folder=str(folder),
            lacking=lacking[0],
        )
    there = there or _("it is empty")
    return _(
        "no {file} or {other} in {folder!r} ({there}).",
        file=FILES[0],
        other=FILES[1],
        folder=str(path),
        there=there,
    )


def _unread(file: Path) -> str:
    return _(
        "{file} in {folder!r} is a sentencepiece model, which labkit does not read. Convert it to "
        "tokenizer.json: transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder).",
        file=file.name, folder=str(file.parent),
    )  # fmt: skip


def _merged(file: Path, options: Mapping[str, Any], said: Said) -> tokenizers.Tokenizer:
    """Byte-level BPE from two files."""
    _check_class(file, options, "model_type", _BYTE_LEVEL, "GPT-2")
    vocab = json_of(file)
    named = [name for name in said.names.values() if name in vocab]
    usual = [
        name for role, names in ROLES.items() if role not in said.names for name in names if name in vocab
    ]
    space = bool(options.get("add_prefix_space", False))
    return from_merges(file, file.parent / _MERGES[file.name], space, list(dict.fromkeys(named + usual)))


def _check_class(file: Path, options: Mapping[str, Any], key: str, known: tuple[str, ...], like: str) -> None:
    """Raise :class:`DataError` where a vocabulary belongs to a class that splits texts in another way.

    Args:
        key: of ``config.json``, says the class where there is no ``tokenizer_class``.
    """
    config = json_of(file.parent / "config.json")
    kind = str(options.get("tokenizer_class") or config.get("tokenizer_class") or config.get(key) or "")
    plain = kind.removesuffix("Fast").removesuffix("Tokenizer").lower()
    if kind and plain not in known and kind not in _GENERIC:
        raise DataError(
            _("{file} in {folder!r} belongs to a {kind!r}, which does not split texts as {like} does. Convert "
              "it to tokenizer.json: "
              "transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder)."),
            file=file.name, folder=str(file.parent), kind=kind, like=like,
        )  # fmt: skip


def _normalise(rust: tokenizers.Tokenizer, options: Mapping[str, Any]) -> None:
    """Settings of ``tokenizer_config.json`` overrule the normaliser of ``tokenizer.json`` in the classes of
    BERT."""
    keys = {"do_lower_case": "lowercase", "strip_accents": "strip_accents",
            "tokenize_chinese_chars": "handle_chinese_chars"}  # fmt: skip
    said = {ours: options[key] for key, ours in keys.items() if key in options}
    if (
        isinstance(rust.normalizer, normalizers.BertNormalizer)
        and options.get("tokenizer_class") not in _GENERIC
    ):
        for name, value in said.items():
            if getattr(rust.normalizer, name) != value:
                setattr(rust.normalizer, name, value)


def _add(rust: tokenizers.Tokenizer, folder: Path, options: Mapping[str, Any]) -> None:
    """Tokens of ``added_tokens.json`` and ``tokenizer_config.json`` that the vocabulary lacks, under their
    ids."""
    tokens = {
        int(number): dict(about) for number, about in (options.get("added_tokens_decoder") or {}).items()
    }
    for name, number in json_of(folder / "added_tokens.json").items():
        tokens.setdefault(number, {"content": name})
    for number, about in sorted(tokens.items()):
        name = about.pop("content")
        if rust.token_to_id(name) is None:
            rust.add_tokens([AddedToken(name, **{key: about[key] for key in about if key != "__type"})])
        if rust.token_to_id(name) != number:
            raise DataError(
                _("the token {name!r} has the id {own_id} in the vocabulary of {folder!r}, but {number} in "
                  "the list of added tokens. Fetch or copy the folder again."),
                name=name, own_id=rust.token_to_id(name), folder=str(folder), number=number,
            )  # fmt: skip


def with_mask(rust: tokenizers.Tokenizer, name: str | None, special: bool) -> tokenizers.Tokenizer:
    """A copy that recognises the mask in a text.

    Where blanks belong to the piece behind them (``ByteLevel``), the mask takes the one in front of it, as
    the piece that it hides does, and as RoBERTa's says.

    Args:
        name: that of the mask; None for a vocabulary without one.
        special: whether the mask counts as a special token, which readers can be set to treat as text.
    """
    about = json.loads(rust.to_str())
    takes_blank = '"ByteLevel"' in json.dumps(about["pre_tokenizer"])
    for token in about["added_tokens"]:
        if token["content"] == name:
            token.update(special=special, lstrip=token["lstrip"] or takes_blank)
    copy = tokenizers.Tokenizer.from_str(json.dumps(about))
    copy.encode_special_tokens = True
    return copy


def save(rust: tokenizers.Tokenizer, said: Said, folder: Path) -> Path:
    """Write ``tokenizer.json`` and, where that alone would be read with other special tokens, what names
    them."""
    path = folder / "tokenizer.json"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(path, rust.to_str())
    if said.names or said.chat_template:
        config = {f"{role}_token": name for role, name in said.names.items()} | _chat(said)
        write_atomic(folder / "tokenizer_config.json", json.dumps(config, ensure_ascii=False, indent=2))
    if said.ids:
        ids = {key: found[0] if len(found) == 1 else list(found) for key, found in said.ids.items()}
        write_atomic(folder / "generation_config.json", json.dumps(ids, indent=2))
    return path


def export(
    rust: tokenizers.Tokenizer, said: Said, roles: Special, folder: Path, settings: Mapping[str, Any]
) -> None:
    """Write the files that ``AutoTokenizer`` reads, for a class that takes ``tokenizer.json`` as it is."""
    names = {f"{role}_token": _name(rust, getattr(roles, role)) for role in NAMED}  # null: there is none
    config = {
        "tokenizer_class": _GENERIC[0],
        **names,
        **_details(rust),
        "padding_side": "right",
        "truncation_side": "right",
        "clean_up_tokenization_spaces": False,
        **_chat(said),
        **settings,
    }
    there = {key: name for key, name in names.items() if name is not None}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "tokenizer.json", rust.to_str())
    write_atomic(folder / "tokenizer_config.json", json.dumps(config, ensure_ascii=False, indent=2))
    write_atomic(folder / "special_tokens_map.json", json.dumps(there, ensure_ascii=False, indent=2))


def _name(rust: tokenizers.Tokenizer, number: int | None) -> str | None:
    return None if number is None else rust.id_to_token(number)


def _chat(said: Said) -> dict[str, Any]:
    return {"chat_template": said.chat_template} if said.chat_template else {}


def _details(rust: tokenizers.Tokenizer) -> dict[str, Any]:
    """What readers of ``tokenizer_config.json`` look for, as it is in ``tokenizer.json``."""
    found: dict[str, Any] = {}
    if isinstance(rust.normalizer, normalizers.BertNormalizer):
        found["do_lower_case"] = rust.normalizer.lowercase
        found["strip_accents"] = rust.normalizer.strip_accents
        found["tokenize_chinese_chars"] = rust.normalizer.handle_chinese_chars
    cut = rust.pre_tokenizer
    if cut is not None and hasattr(cut, "add_prefix_space"):
        found["add_prefix_space"] = cut.add_prefix_space
    return found
