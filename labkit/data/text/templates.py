"""Templates of special tokens around a text or a pair, read from and written to post-processors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import tokenizers
from tokenizers import models

from labkit.core.errors import DataError
from labkit.data.text import limits
from labkit.i18n import _

#: A special token and its type id.
Placed = tuple[int, int]


@dataclass(frozen=True)
class Template:
    """Template of a row of one text, or of two.

    Attributes:
        special: special tokens before the first text, after it (between the two), and after the second.
        types: type id of each text.
    """

    special: tuple[tuple[Placed, ...], ...]
    types: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of special tokens."""
        return sum(map(len, self.special))

    @property
    def before(self) -> tuple[int, ...]:
        """Ids of the tokens in front of the first text."""
        return tuple(number for number, _ in self.special[0])

    @property
    def after(self) -> tuple[int, ...]:
        """Ids of the tokens behind the last text."""
        return tuple(number for number, _ in self.special[-1])


#: Templates of one text and of a pair.
Templates = tuple[Template, Template]
#: Texts as they are.
NOTHING: Templates = Template(((), ()), (0,)), Template(((), (), ()), (0, 1))


def bert(start: int | None, end: int) -> Templates:
    """``[CLS] text [SEP]`` and ``[CLS] text [SEP] other [SEP]`` with types 0 and 1; no start where there is
    none."""
    first = () if start is None else ((start, 0),)
    return Template((first, ((end, 0),)), (0,)), Template((first, ((end, 0),), ((end, 1),)), (0, 1))


def of(rust: tokenizers.Tokenizer) -> Templates | None:
    """The forms of a tokenizer's post-processor; None where it adds nothing to a text.

    Raises:
        DataError: the post-processor names a token that it gives no id, leaves a text out, repeats it or
            changes the order of a pair.
    """
    if rust.post_processor is None:
        return None
    _check_names(json.loads(rust.post_processor.__getstate__()))
    word = tokenizers.Tokenizer(models.WordLevel({"x": 0}, unk_token="x"))
    made = []
    for count in (1, 2):
        texts = [word.encode("x", add_special_tokens=False) for _ in range(count)]
        with limits.running():
            row = rust.post_processor.process(*texts, add_special_tokens=True)
        where = row.sequence_ids  # None at special tokens, and at all but the last of a text that is repeated
        texts_only = [
            number for number, added in zip(where, row.special_tokens_mask, strict=True) if not added
        ]
        if texts_only != list(range(count)):
            kind = type(rust.post_processor).__name__
            raise DataError(
                _("the tokenizer's post-processor ({kind}) does not keep {count} text(s) in order; labkit "
                  "needs each text once. Use a tokenizer.json whose template has $A once and, for pairs, $A "
                  "before $B."),
                kind=kind, count=count,
            )  # fmt: skip
        ends = [where.index(number) for number in range(count)]
        bounds = [-1, *ends, len(where)]
        special = [
            tuple(zip(row.ids[a + 1 : b], row.type_ids[a + 1 : b], strict=True)) for a, b in pairwise(bounds)
        ]
        made.append(Template(tuple(special), tuple(row.type_ids[place] for place in ends)))
    return (made[0], made[1]) if made[0].size else None


def _check_names(about: dict[str, Any]) -> None:
    """Raise :class:`DataError` for a template with a token that has no ids, on which the Rust library panics."""
    for part in about.get("processors", [about]):
        pieces = [
            piece for form in ("single", "pair") for piece in part.get(form) or () if isinstance(piece, dict)
        ]
        named = [piece["SpecialToken"]["id"] for piece in pieces if "SpecialToken" in piece]
        if lacking := [name for name in named if name not in (part.get("special_tokens") or {})]:
            raise DataError(
                _("the template of the tokenizer's post-processor has the token {token!r}, which its special_tokens "
                  "lack. Fetch or copy the tokenizer again."),
                token=lacking[0],
            )  # fmt: skip


def processor(rust: tokenizers.Tokenizer, forms: Templates) -> Any:
    """A post-processor that makes these forms. What the present one does to the places of tokens
    (``ByteLevel``) stays.

    Args:
        rust: knows the names of the special tokens.
        forms: may have no special tokens at all.
    """
    now = json.loads(rust.post_processor.__getstate__()) if rust.post_processor is not None else None
    steps = [now] if now else []
    if now and now["type"] == "Sequence":
        steps = now["processors"]
    parts = [*(step for step in steps if step["type"] == "ByteLevel"), _template(rust, forms)]
    about = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": None, "decoder": None, "model": {"type": "WordLevel", "vocab": {"x": 0}, "unk_token": "x"},
        "post_processor": parts[0] if len(parts) == 1 else {"type": "Sequence", "processors": parts},
    }  # fmt: skip
    # Built from JSON: the class of Python cuts templates at blanks and colons, which names of tokens may
    # hold.
    return tokenizers.Tokenizer.from_str(json.dumps(about)).post_processor


def _template(rust: tokenizers.Tokenizer, forms: Templates) -> dict[str, Any]:
    """``TemplateProcessing`` as ``tokenizer.json`` has it."""
    used = {number for form in forms for part in form.special for number, _ in part}
    names = {number: rust.id_to_token(number) for number in used}

    def pieces(form: Template) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        for place, part in enumerate(form.special):
            if place:
                made.append({"Sequence": {"id": "AB"[place - 1], "type_id": form.types[place - 1]}})
            made += [{"SpecialToken": {"id": names[number], "type_id": kind}} for number, kind in part]
        return made

    return {
        "type": "TemplateProcessing",
        "single": pieces(forms[0]),
        "pair": pieces(forms[1]),
        "special_tokens": {
            name: {"id": name, "ids": [number], "tokens": [name]} for number, name in sorted(names.items())
        },
    }
