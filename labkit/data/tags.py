"""Words with one tag each: columns of words and tags, and entities of BIO tags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from datasets import ClassLabel, Dataset, Value

from labkit.core.errors import DataError
from labkit.data.arrow import column, nested, numbers
from labkit.data.columns import Choice, check_columns, names_of
from labkit.data.io.arrow_cache import Part
from labkit.data.report import Report, visible
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets.features.features import FeatureType

#: Columns of rows with tags: the words, and the tags, each with single spaces between them.
TEXT, TAGS = "text", "tags"
#: Usual names of the columns of words and of tags.
WORDS = ("tokens", "words")
NAMES = ("tags", "ner_tags", "ner", "pos_tags", "pos", "labels", "chunk_tags")
#: Prefixes of tags of entities: begin, inside, outside, end, single; L and U are other names of E and S.
_PREFIXED = re.compile(r"([BIESLU])-(.+)", re.DOTALL)
OUTSIDE = "O"
_LOOKED_AT = 20


class Entity(NamedTuple):
    """A span of words, ``start`` … ``end`` (exclusive), of a type such as "PER"."""

    type: str
    start: int
    end: int


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of BIO, IOB1 or BIOES tags, as the script conlleval of CoNLL 2000 delimits them.

    An entity begins at B or S, after E or S, after O, and where the type changes; I that follows O begins one too.
    """
    found: list[Entity] = []
    before, kind, begin = OUTSIDE, "", 0
    for place, tag in enumerate([*tags, OUTSIDE]):
        match = _PREFIXED.fullmatch(tag)
        prefix, type_ = match.groups() if match else (OUTSIDE, "")
        goes_on = prefix in "IEL" and before in "BI" and type_ == kind
        if before != OUTSIDE and not goes_on:
            found.append(Entity(kind, begin, place))
        if prefix != OUTSIDE and not goes_on:
            begin = place
        before, kind = prefix, type_
    return found


def are_entities(names: Iterable[str]) -> bool:
    """Whether tags are those of entities: all are O or have a prefix, and one has."""
    found = [name == OUTSIDE or bool(_PREFIXED.fullmatch(name)) for name in names]
    return all(found) and len(found) > 1


def has_tags(dataset: Dataset) -> bool:
    """Whether the rows have a tag for every word, by the first of them."""
    if not {TEXT, TAGS} <= set(dataset.column_names):
        return False
    first = dataset.select(range(min(_LOOKED_AT, len(dataset))))
    return len(first) > 0 and all(
        isinstance(text, str) and isinstance(tags, str) and len(text.split(" ")) == len(tags.split(" "))
        for text, tags in zip(first[TEXT], first[TAGS], strict=True)
    )


def tags_of(dataset: Dataset) -> tuple[list[list[str]], list[list[str]]]:
    """The words and the tags of every row.

    Raises:
        DataError: there are none, or a row has not a tag for every word.
    """
    if TAGS not in dataset.column_names:
        raise DataError(
            _("the words have no tags: name their column, lk.load(..., text=\"tokens\", tags=\"tags\"). The rows have "
              "{names}."),
            names=visible(", ".join(dataset.column_names), 400),
        )  # fmt: skip
    words = [text.split(" ") for text in dataset[TEXT]]
    tags = [text.split(" ") if isinstance(text, str) else [] for text in dataset[TAGS]]
    for place, (one, other) in enumerate(zip(words, tags, strict=True)):
        if len(one) != len(other):
            raise DataError(
                _("row {row} has {n_words} words and {n_tags} tags. Cleaning steps that join, split or drop words do "
                  "not go with tags."),
                row=int(numbers(dataset.select([place]), "row")[0]), n_words=len(one), n_tags=len(other),
            )  # fmt: skip
    return words, tags


def tag_columns(table: Dataset, choice: Choice, report: Report) -> tuple[str, str] | None:
    """The columns of words and of tags: as given, or lists with usual names by default."""
    names = {name.casefold(): name for name in names_of(table)}
    words = next((names[name] for name in WORDS if name in names), "")
    if choice.tags is not None:
        text = choice.text if choice.text is not None else words or TEXT
        if not isinstance(text, str):
            raise DataError(_('tags need one column of words: text="tokens".'))
        check_columns(table, [text, choice.tags], "train")
        return text, choice.tags
    asked = choice.text, choice.label, choice.number, choice.answer, choice.features
    if any(each not in (None, (), False) for each in asked) or choice.kind != "text" or not words:
        return None
    schema = table.data.table.schema
    tags = [names[name] for name in NAMES if name in names and nested(schema.field(names[name]).type)]
    if len(tags) != 1 or not nested(schema.field(words).type):
        return None
    report.add("counted", _("tags detected"), column=tags[0], detail=_('set them with tags="…"'))
    return words, tags[0]


def with_tags(
    parts: Mapping[str, Part], columns: tuple[str, str], rows: Mapping[str, np.ndarray], report: Report
) -> tuple[dict[str, Part], dict[str, np.ndarray]]:
    """The tables with columns ``text`` and ``tags`` in place of those of words and tags, and the rows that cannot be
    used, bool[n]; these are reported."""
    made, bad = {}, {}
    for split, part in parts.items():
        check_columns(part.table, columns, split)
        words, tags = (
            _listed(column(part.table, name).to_pylist(), part.table.info.features[name]) for name in columns
        )
        bad[split] = np.zeros(len(part.table), bool)
        for place, (one, other) in enumerate(zip(words, tags, strict=True)):
            if reason := _problem(one, other):
                bad[split][place] = True
                row = rows[split][place : place + 1]
                report.add("refused", reason[0], row, column=columns[1], detail=reason[1], split=split)
        texts, labels = (
            ["-" if wrong else " ".join(each) for each, wrong in zip(lists, bad[split], strict=True)]
            for lists in (words, tags)
        )
        dropped = [name for name in dict.fromkeys((*columns, TEXT, TAGS)) if name in part.table.column_names]
        table = part.table.remove_columns(dropped)
        for name, values in ((TEXT, texts), (TAGS, labels)):
            table = table.add_column(name, values, feature=Value("string"))
        made[split] = replace(part, table=table)
    return made, bad


def _listed(values: list[Any], feature: FeatureType) -> list[list[str]]:
    """Each value as a list of texts: a list as it is, a text divided at white space."""
    inner = getattr(feature, "feature", None)
    names = inner.names if isinstance(inner, ClassLabel) else None
    found = []
    for value in values:
        if isinstance(value, str):
            found.append(value.split())
        else:
            found.append(
                [("" if one is None else names[one] if names and isinstance(one, int) else str(one))
                 for one in value or ()]
            )  # fmt: skip
    return found


def _problem(words: list[str], tags: list[str]) -> tuple[str, str] | None:
    """Why a row cannot be used, and the value; None where it can."""
    if not words:
        return _("no words"), ""
    if len(words) != len(tags):
        return _("not a tag for every word"), _(
            "{n_words} words, {n_tags} tags", n_words=len(words), n_tags=len(tags)
        )
    for reason, values in (
        (_("empty word or with white space"), words),
        (_("empty tag or with white space"), tags),
    ):
        for value in values:
            if not value or re.search(r"\s", value):
                return reason, repr(visible(value, 60))
    return None
