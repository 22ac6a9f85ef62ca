"""CSV reader that reports every rejected or repaired record by record and line number.

Records are numbered from 0 after the header, without blank lines; lines from 1, as an editor shows them.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from labkit.core.errors import ConfigError, DataError, nearest
from labkit.data.io.arrow_cache import PORTION, ROW, SURROGATE, Reading, check_column_names
from labkit.data.io.encoding import LOST, Encoding, detect
from labkit.data.report import Report, visible
from labkit.i18n import _

DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
SAMPLE = 1 << 18  # characters that the choice of the delimiter looks at
COLUMNS = 200_000  # at most
WEIGHT = 1 << 23  # characters after which a portion is full


@dataclass(frozen=True)
class Dialect:
    """How a file is written; what is None is found out.

    Attributes:
        delimiter: one character.
        encoding: a Python codec name.
        quotes: whether ``"`` encloses fields; False takes it as text.
        names: column names of a file without a header line.
        escapechar: the character before a quote, a delimiter or a line end that is plain text, as MySQL
        writes "\\".
        sheet: of an Excel file.
    """

    delimiter: str | None = None
    encoding: str | None = None
    quotes: bool = True
    names: tuple[str, ...] | None = None
    escapechar: str | None = None
    sheet: str | None = None


def dialect(**given: Any) -> Dialect:
    """The options of reading a file. Raises :class:`ConfigError` for one that there is not."""
    known = [option.name for option in dataclasses.fields(Dialect)]
    for name in given:
        if name not in known:
            near = nearest(name, known)
            raise ConfigError(
                _("unknown reading option {name!r}.{near} Available: {known}."),
                name=name, near=near, known=", ".join(known),
            )  # fmt: skip
    return Dialect(**{**given, "names": given.get("names") and tuple(given["names"])})


def read_csv(path: Path, dialect: Dialect, reading: Reading) -> Iterator[pa.Table]:
    """Yield the records as tables of text columns with their record numbers; refused ones are noted in
    ``reading``.

    Raises:
        DataError: the file is empty, its delimiter or its column names are in doubt, or a quote is never
            closed.
    """
    encoding = detect(path, dialect.encoding)
    note_encoding(encoding, reading.report)
    declared = _declared(path, encoding)
    delimiter = dialect.delimiter or declared or sniff(path, encoding, dialect)
    with _long_fields(), encoding.open(path) as file:
        lines = _Lines(file, delimiter, dialect.escapechar, reading.report)
        reader = _reader(lines, delimiter, dialect)
        if declared:
            next(reader)
        names = _header(path, reader, delimiter, dialect, reading.report)
        portion = _Portion(names)
        for number, fields in _records(path, reader, lines, len(names), reading):
            if not encoding.sure and any(LOST in value for value in fields):
                reading.report.add(
                    "repaired",
                    _("bytes invalid in {encoding} replaced by U+FFFD", encoding=encoding.name),
                    [number],
                )
            portion.add(number, fields)
            if portion.full:
                yield portion.take()
        yield portion.take()
    if not reading.records:
        raise DataError(_("{file!r} has 0 rows: only a header."), file=path.name)


def _declared(path: Path, encoding: Encoding) -> str | None:
    """The delimiter in a first line ``sep=;``, which Excel reads and hides."""
    with encoding.open(path) as file:
        first = file.readline(40).strip('\ufeff\r\n "')
    found = re.fullmatch(r"(?i)sep=(.|\\t)", first)
    return found and found[1].replace("\\t", "\t")


class _Lines:
    """The lines of a file, as the csv module takes them; with an escape character NULL, ``\\N``, becomes
    empty."""

    def __init__(self, file: Iterator[str], delimiter: str, escape: str | None, report: Report):
        self.file, self.report = file, report
        ends = re.escape(delimiter)
        self.null = escape and re.compile(rf"(?:(?<=^)|(?<={ends})){re.escape(escape)}N(?={ends}|\r?\n?$)")
        self.escaped = False  # whether a backslash came before a quote

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self.file)
        self.escaped = self.escaped or '\\"' in line
        if self.null:
            line, count = self.null.subn("", line)
            self.report.add("counted", _("NULL read as missing"), [None] * count)
        return line

    @property
    def hint(self) -> str:
        return (
            _('; with \\" in it: pass escapechar="\\\\" if a backslash makes a quote plain text')
            if self.escaped
            else ""
        )


def note_encoding(encoding: Encoding, report: Report) -> None:
    """Report an encoding that is not UTF-8, and that it was guessed."""
    if encoding.guessed:
        report.add(
            "counted",
            _("encoding guessed: {encoding}", encoding=encoding.name),
            detail=_('pass encoding="…" if texts look wrong'),
        )
    if encoding.doubt:
        report.add("counted", _("encoding uncertain"), detail=encoding.doubt)


def sniff(path: Path, encoding: Encoding, dialect: Dialect) -> str:
    """The delimiter under which the header has several fields and most records have as many.

    Raises:
        DataError: two delimiters fit alike.
    """
    with encoding.open(path) as file:
        sample = file.read(SAMPLE)
    whole = len(sample) < SAMPLE
    scores = {delimiter: _agreement(sample, whole, delimiter, dialect) for delimiter in DELIMITERS}
    best = max(scores.values())
    found = [delimiter for delimiter, score in scores.items() if score == best]
    if best == 0:
        return "\t" if {".tsv", ".tab"} & {suffix.lower() for suffix in path.suffixes} else ","
    if len(found) > 1:
        which = " or ".join(DELIMITERS[delimiter] for delimiter in found)
        raise DataError(
            _("{file!r} could be separated by {which}: pass delimiter={found!r} or {second!r}."),
            file=path.name, which=which, found=found[0], second=found[1],
        )  # fmt: skip
    return found[0]


def _agreement(sample: str, whole: bool, delimiter: str, dialect: Dialect) -> float:
    """Share of records with as many fields as the header; 0 for a header of one field."""
    widths: list[int] = []
    try:
        for fields in itertools.islice(
            _reader(iter(sample.splitlines(keepends=True)), delimiter, dialect), 200
        ):
            widths += [len(fields)] if fields else []
    except csv.Error:
        pass  # an odd quote: judge by what stands before it
    if not whole and len(widths) < 200:
        widths = widths[:-1] or widths  # the sample may end within its last record
    if not widths or widths[0] < 2:
        return 0.0
    return sum(width == widths[0] for width in widths) / len(widths)


def _reader(lines: Iterator[str], delimiter: str, dialect: Dialect) -> Any:
    quoting = csv.QUOTE_MINIMAL if dialect.quotes else csv.QUOTE_NONE
    for name, value in (("delimiter", delimiter), ("escapechar", dialect.escapechar)):
        if value is not None and (len(value) != 1 or value in '"\r\n'):
            raise DataError(
                _("{name} = {value!r} must be one character, like ',' or '\\\\'."), name=name, value=value
            )
    return csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True, escapechar=dialect.escapechar)


@contextmanager
def _long_fields() -> Iterator[None]:
    """Lift the csv module's limit of 131,072 characters for a field; long cells are counted later."""
    before = csv.field_size_limit((1 << 31) - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _header(
    path: Path, reader: Iterator[list[str]], delimiter: str, dialect: Dialect, report: Report
) -> tuple[str, ...]:
    if dialect.names:
        return dialect.names
    try:
        found = next((fields for fields in reader if fields), None)
    except csv.Error as error:
        raise DataError(
            _("the header of {file!r} cannot be read ({error}). Is there an unbalanced quote?"),
            file=path.name,
            error=error,
        ) from None
    if found is None:
        raise DataError(_("{file!r} has 0 rows: it is empty."), file=path.name)
    if len(found) == 1:
        _check_single(path, found[0], delimiter)
    return named(found, path.name, report)


def _check_single(path: Path, name: str, delimiter: str) -> None:
    for other, called in DELIMITERS.items():
        if other in name and other != delimiter:
            raise DataError(
                _(
                    "{file!r} has only one column, {name!r}, and its name contains {called}: pass "
                    "delimiter={other!r}, or remove the quotes around whole lines."),
                file=path.name, name=visible(name, 60), called=called, other=other,
            )  # fmt: skip


def named(found: Sequence[str], where: str, report: Report) -> tuple[str, ...]:
    """Column names without white space around them and none empty; repairs are reported.

    Raises:
        DataError: two columns have one name.
    """
    names = [name.strip() or f"column_{place}" for place, name in enumerate(found, start=1)]
    for before, after in zip(found, names, strict=True):
        if not before.strip():
            report.add(
                "repaired",
                _("column without a name"),
                column=after,
                detail=_("now {after!r}", after=after),
            )
        elif before != after:
            report.add("repaired", _("white space around a column name"), column=after)
        elif _is_number(after):
            report.add(
                "counted",
                _("column name is a number"),
                column=after,
                detail=_("if the file has no header, pass names="),
            )
    names = [name.translate(SURROGATE) for name in names]  # only of data in memory
    check_column_names(names, repr(where))
    if len(names) > COLUMNS:
        raise DataError(
            _("{where!r} has {n_names:,} columns; the maximum is {columns:,}. Remove columns."),
            where=where, n_names=len(names), columns=COLUMNS,
        )  # fmt: skip
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(
            _("{where!r} has several columns named {twice!r}: rename them."),
            where=where,
            twice=visible(", ".join(twice)),
        )
    return tuple(names)


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _records(
    path: Path, reader: Any, lines: _Lines, width: int, reading: Reading
) -> Iterator[tuple[int, list[str]]]:
    """(record number, fields) of each record as wide as the header; the others are refused."""
    refuse = reading.report.add
    while True:
        line, lines.escaped = reader.line_num + 1, False
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            _check_closed(path, line, error, lines.hint)
            detail = _(
                "{lines}: {error}{hint}", lines=_lines(line, reader.line_num), error=error, hint=lines.hint
            )
            refuse("refused", _("unbalanced quote"), [reading.records], detail=detail)
            reading.records += 1
            continue
        if not fields:
            refuse("counted", _("blank line"), detail=_("line {line}", line=line))
            continue
        if len(fields) != width:
            detail = _(
"{lines}: {n} fields, expected {wanted}{hint}",
lines=_lines(line, reader.line_num), n=len(fields), wanted=width, hint=lines.hint,
)  # fmt: skip
            refuse("refused", _("wrong number of fields"), [reading.records], detail=detail)
        else:
            yield reading.records, fields
        reading.records += 1


def _check_closed(path: Path, line: int, error: csv.Error, hint: str) -> None:
    if "unexpected end of data" in str(error):
        raise DataError(
            _(
                "{file!r}: a quote opened in the record at line {line} is never closed, so everything "
                "after it would be one field{hint}. Fix that line, or pass quotes=False if quotes are "
                "plain text in this file."),
            file=path.name, line=line, hint=hint,
        )  # fmt: skip


def _lines(first: int, last: int) -> str:
    return (
        _("line {line}", line=first)
        if first == last
        else _("lines {first} to {last}, read as one record", first=first, last=last)
    )


@dataclass
class _Portion:
    """Records gathered for one table."""

    names: tuple[str, ...]
    numbers: list[int] = field(default_factory=list)
    records: list[list[str]] = field(default_factory=list)
    weight: int = 0

    @property
    def full(self) -> bool:
        return len(self.records) >= PORTION or self.weight >= WEIGHT

    def add(self, number: int, fields: list[str]) -> None:
        self.numbers.append(number)
        self.records.append(fields)
        self.weight += sum(map(len, fields))

    def take(self) -> pa.Table:
        columns = zip(*self.records, strict=True) if self.records else [()] * len(self.names)
        arrays = {
            name: pa.array(values, pa.string()) for name, values in zip(self.names, columns, strict=True)
        }
        table = pa.table({**arrays, ROW: pa.array(self.numbers, pa.int64())})
        self.numbers, self.records, self.weight = [], [], 0
        return table
