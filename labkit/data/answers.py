"""Answers of question-answering data in SQuAD 1.1 and 2.0 format: start and end, validated per row."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from datasets import Value

from labkit.core.errors import DataError
from labkit.data.arrow import batches, column, numbers
from labkit.data.cells import category_name
from labkit.data.report import Report, visible
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets import Dataset

#: Columns of answers: SQuAD's own; or a text, and where it begins in the paragraph, in characters.
SQUAD, TEXT, START = "answers", "answer", "answer_start"
#: Column of SQuAD 2.0: whether the paragraph holds no answer.
IMPOSSIBLE = "is_impossible"
#: Why an answer is refused, repaired or counted.
MISPLACED, UNPLACED = (
    _("answer text does not match its position in the paragraph"),
    _("answer is not in the paragraph, or has no start position"),
)
DENIED = _("no answer although is_impossible is false")
MOVED, NONE = _("answer start corrected to the nearest match"), _("question without an answer")
LEFT_OUT = _("answer of an unanswerable question dropped")
REPEATED = _("answer occurs several times in the paragraph; the first is used")
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_PLACES = 5  # wrong answers listed in an error


class Answer(NamedTuple):
    """The right answers of a question, and the characters of the first one; both missing without an answer.

    ``refused``, ``noted``: why it cannot be used, and what was repaired or counted; "" for nothing.
    ``detail``: the value in question.
    """

    texts: list[str]
    span: tuple[int, int] | None
    refused: str = ""
    noted: str = ""
    detail: str = ""


def has_answers(dataset: Dataset, without: Collection[str] = ()) -> bool:
    """Whether columns of these names hold answers that :func:`answers_of` reads; ``without``: columns used as
    texts."""
    names = set(dataset.column_names) - set(without)
    return (SQUAD in names and _is_squad(dataset)) or {TEXT, START} <= names


def named_answers(
    dataset: Dataset, name: str, texts: tuple[str, ...], rows: np.ndarray, split: str, report: Report
) -> Dataset:
    """The table with the column ``name`` as its answers. Where there is no column ``answer_start``, the place of
    each answer is searched in its paragraph; one that occurs several times is counted in ``report``.

    Args:
        dataset: the table as read.
        name: a column of answer texts, or of answers as in SQuAD.
        texts: columns of the question and the paragraph.
        rows: row numbers, for the report.
        split: its name.
        report: takes the notes.

    Raises:
        DataError: ``texts`` are not two columns.
    """
    if len(texts) != 2:
        raise DataError(
            _("answer = {name!r} needs text=(question, paragraph); text has {n} columns."),
            name=name, n=len(texts),
        )  # fmt: skip
    kind = dataset.features.arrow_schema.field(name).type
    squad = pa.types.is_nested(kind)
    wanted = SQUAD if squad else TEXT
    if name != wanted:
        dataset = dataset.remove_columns([n for n in (wanted,) if n in dataset.column_names])
        dataset = dataset.rename_column(name, wanted)
    if squad or START in dataset.column_names:
        return dataset
    starts: list[int | None] = []
    pairs = zip(column(dataset, TEXT).to_pylist(), column(dataset, texts[1]).to_pylist(), strict=True)
    for number, (given, paragraph) in enumerate(pairs):
        answer, text = _bare(given), "" if paragraph is None else str(paragraph)
        start = text.find(answer) if answer else -1
        if start >= 0 and text.find(answer, start + 1) >= 0:
            detail = visible(answer, 60)
            report.add(
                "counted", REPEATED, rows[number : number + 1], column=name, detail=detail, split=split
            )
        starts.append(start if start >= 0 else None)
    return dataset.add_column(START, starts, feature=Value("int64"))


def _is_squad(dataset: Dataset) -> bool:
    """Whether the column ``answers`` holds texts with their starts, rather than texts alone."""
    kind = dataset.features.arrow_schema.field(SQUAD).type
    inner = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
    return pa.types.is_struct(inner) or pa.types.is_null(inner)


def answers_of(dataset: Dataset) -> tuple[list[list[str]], list[tuple[int, int] | None]]:
    """The right answers of every row (none, one or several), and the characters of the first; None without an
    answer.

    They are in ``answer`` and ``answer_start`` (a text and a number), or in ``answers`` as in SQuAD:
    ``{"text": [...], "answer_start": [...]}``, or a list of ``{"text": …, "answer_start": …}``. A question
    has no answer where the text is missing or blank, the list is empty, or ``is_impossible`` is true.

    Raises:
        DataError: there are no such columns, or an answer does not match the paragraph.
    """
    if not has_answers(dataset):
        raise DataError(
            _("questions need their answers: columns {text!r} and {start!r}, or 'answers' as in SQuAD. The "
              "rows have {column_names}."),
            text=TEXT, start=START, column_names=", ".join(dataset.column_names),
        )  # fmt: skip
    found = list(_read(dataset, column(dataset, "text_pair")))
    if wrong := [number for number, answer in enumerate(found) if answer.refused]:
        rows = numbers(dataset, "row")
        places = "; ".join(
            f"row {rows[number]} ({found[number].refused}{': ' * bool(found[number].detail)}{found[number].detail})"
            for number in wrong[:_PLACES]
        )
        raise DataError(
            _("{n_wrong:,} of {n_found:,} answers are unusable: {places}."),
            n_wrong=len(wrong), n_found=len(found), places=places,
        )  # fmt: skip
    return [answer.texts for answer in found], [answer.span for answer in found]


def check_answers(
    dataset: Dataset, texts: tuple[str, ...], repaired: Mapping[str, pa.ChunkedArray], rows: np.ndarray, split: str,
    report: Report, bad: np.ndarray, strict: bool,
) -> None:  # fmt: skip
    """Note what was repaired and counted in the answers of pairs (question, paragraph), if they have any.

    Args:
        dataset: the table as read.
        texts: columns of the question and the paragraph.
        repaired: columns of ``texts`` that differ from ``dataset``.
        rows: row numbers, for the report.
        split: its name.
        report: takes the notes.
        bad: bool[n]; rows whose answer cannot be used are marked here.
        strict: refuse answers that cannot be used; without it the rows may be meant for something else.
    """
    if len(texts) != 2 or not has_answers(dataset, texts):
        return
    name = SQUAD if SQUAD in dataset.column_names and _is_squad(dataset) else TEXT
    paragraphs = repaired[texts[1]] if texts[1] in repaired else column(dataset, texts[1])
    for number, answer in enumerate(_read(dataset, paragraphs)):
        if bad[number]:
            continue
        row, detail = rows[number : number + 1], answer.detail
        if answer.refused and strict:
            report.add("refused", answer.refused, row, column=name, detail=detail, split=split)
            bad[number] = True
        elif answer.noted:
            action = "repaired" if answer.noted == MOVED else "counted"
            report.add(action, answer.noted, row, column=name, detail=detail, split=split)


def _read(dataset: Dataset, paragraphs: pa.ChunkedArray) -> Iterator[Answer]:
    """The answer of every row."""
    squad = SQUAD in dataset.column_names and _is_squad(dataset)
    wanted = (SQUAD, IMPOSSIBLE) if squad else (TEXT, START, IMPOSSIBLE)
    names = [name for name in wanted if name in dataset.column_names]
    done = 0
    for part in batches(dataset, names):
        for record, paragraph in zip(
            part.to_pylist(), paragraphs.slice(done, len(part)).to_pylist(), strict=True
        ):
            yield _answer(record, "" if paragraph is None else str(paragraph))
        done += len(part)


def _answer(record: Mapping[str, Any], paragraph: str) -> Answer:
    """The answer of one row."""
    given = record[SQUAD] if SQUAD in record else {"text": record[TEXT], "answer_start": record[START]}
    there: list[tuple[str, Any]] = []  # answers with letters
    for each in filter(None, _as_list(given)):
        texts, starts = _as_list(each.get("text")), _as_list(each.get("answer_start"))
        starts += [None] * (len(texts) - len(starts))
        there += [(str(text), start) for text, start in zip(texts, starts, strict=False) if _bare(text)]
    flag = record.get(IMPOSSIBLE)
    impossible = None if flag is None else _FLAGS.get(category_name(flag).casefold())
    if impossible or not there:
        if impossible is False:
            return Answer([], None, refused=DENIED)
        return Answer(
            [], None, noted=LEFT_OUT if there else NONE, detail=visible(there[0][0], 60) if there else ""
        )
    texts = [_bare(text) for text, _ in there]
    (given_text, given_start), text = there[0], texts[0]
    if (start := _whole(given_start)) is None:
        return Answer(texts, None, refused=UNPLACED, detail=visible(given_text, 60))
    begin = start
    while 0 <= begin < len(paragraph) and not _letter(paragraph[begin]):
        begin += 1
    if begin < 0 or paragraph[begin : begin + len(text)] != text:
        return Answer(
            texts,
            None,
            refused=MISPLACED,
            detail=_("{given_text!r} at character {start}", given_text=visible(given_text, 60), start=start),
        )
    moved = given_text != text or begin != start
    detail = (
        _("{given_text!r} at character {start}", given_text=visible(given_text, 60), start=start)
        if moved
        else ""
    )
    return Answer(texts, (begin, begin + len(text)), noted=MOVED if moved else "", detail=detail)


def _as_list(value: object) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _whole(value: Any) -> int | None:
    """A whole number, also one written as text; None where it is none."""
    try:
        number = float(value)
        return int(number) if number == int(number) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _letter(char: str) -> bool:
    """Whether a character is seen: no white space, control character, zero-width or bidirectional mark."""
    return not char.isspace() and unicodedata.category(char) not in ("Cc", "Cf")


def _bare(text: object) -> str:
    """A text without what is not seen around it; "" for a missing one."""
    text = "" if text is None else str(text)
    seen = [place for place, char in enumerate(text) if _letter(char)]
    return text[seen[0] : seen[-1] + 1] if seen else ""
