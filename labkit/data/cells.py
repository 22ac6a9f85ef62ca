"""Parsing of table cells (numbers, dates, booleans, categories), identical for loading and prediction."""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.core.config import Config, option
from labkit.core.errors import DataError
from labkit.data.report import Report
from labkit.i18n import _

#: How the values of a source column become numbers.
KINDS = ("number", "category", "boolean", "date", "duration")
#: What tables write for "no value", lower case: in every column, and in columns of numbers, dates and
#: booleans too.
BLANK = frozenset({"", "nan", "<na>", "na", "n/a", "n.a.", "#n/a", "#na", "null", "nat", "<nat>", "?"})
MISSING = BLANK | {
    "none",
    "-",
    "--",
    "–",
    "—",
    ".",
    "n.v.",
    "k.a.",
    "n/d",
    "nd",
    "missing",
    "unknown",
    "#value!",
}
#: How a boolean is written, lower case.
BOOLEANS = {"1": 1.0, "true": 1.0, "yes": 1.0, "0": 0.0, "false": 0.0, "no": 0.0}
#: Share of a column's values that must be numbers (or dates) for it to be a column of them.
MOSTLY = 0.95

DAY = 86_400
EPOCH = datetime.date(1970, 1, 1).toordinal()
WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")
_CURRENCY = r"[$€£¥₹₽₩₺₿]|EUR|USD|GBP|CHF|JPY|CNY|RMB"
_UNITS = re.compile(rf"([+-]?)\s*({_CURRENCY})?\s*(.*?)\s*(%|{_CURRENCY})?", re.DOTALL)
_SPACES = " \u00a0\u2009\u202f'’"
_TIME = r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d(?:[.,]\d{1,9})?))?"
_DATES = tuple(
    re.compile(rf"{day}(?:(?:T|\s+){_TIME}\s*(?P<zone>Z|UTC|[+-]\d\d:?\d\d)?)?")
    for day in (
        r"(?P<year>\d{4})(?P<mark>[-/])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})",
        r"(?P<year>\d{4})-(?P<month>\d\d)",
        r"(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4})",
        r"(?P<year>\d{4})年(?P<month>\d{1,2})月(?P<day>\d{1,2})日",
    )
)
#: What most columns of numbers hold; only other values are looked at one by one.
_PLAIN, _DOTTED = r"[+-]?\d+(?:[eE][+-]?\d+)?", r"[+-]?\d+\.\d+(?:[eE][+-]?\d+)?"
#: Numbers whose point may stand between thousands, and whole numbers that may be codes.
_GROUPED, _CODE = r"[+-]?[1-9]\d{0,2}(\.\d{3})+", r"0\d+"
_CELLS = 1_000_000  # looked at together
_DURATION = re.compile(rf"(?:(?P<days>-?\d+) days?)?\s*(?:(?P<sign>[+-]?){_TIME})?")


def _digits(thousands: str, point: str) -> re.Pattern[str]:
    """A written number with these marks between thousands and before the fraction."""
    grouped = rf"[1-9]\d{{0,2}}(?P<mark>[{thousands}])\d{{3}}(?:(?P=mark)\d{{3}})*"
    fraction = rf"(?:{point}\d*)?" if point else ""
    return re.compile(rf"[+-]?(?:(?:{grouped}|\d+){fraction}|{point or '(?!)'}\d+)(?:[eE][+-]?\d+)?")


#: Decimal mark of a column → its numbers. "" is for columns without a comma: there "1,234" is in doubt.
_NUMBERS = {"": _digits(_SPACES, r"\."), ".": _digits(f",{_SPACES}", r"\."), ",": _digits(f".{_SPACES}", ",")}


@dataclass(frozen=True)
class Column(Config):
    """How a source column becomes features; saved with the model, so that new rows are read as the training
    rows."""

    name: str = option("", "Column name in the source.")
    kind: str = option(
        "number", "Type of the values. Dates are days since 1970-01-01, durations seconds.", choices=KINDS
    )
    features: tuple[str, ...] = option(
        (),
        "Feature names: one, and perhaps one that is 1 where it is missing; or one per category (one-hot).",
    )
    words: tuple[str, ...] = option((), "Categories in the order of the features.")
    decimal: str = option(
        "", "Decimal mark of numbers stored as text; empty if no comma occurs.", choices=("", ".", ",")
    )
    percent: bool = option(False, "Numbers are written with a percent sign.")
    zoned: bool = option(False, "Dates have a time zone.")
    ids: bool = option(False, "Integer class ids are accepted in place of category names.")


@dataclass(frozen=True)
class Cells:
    """A column with every distinct value once.

    Attributes:
        values: distinct values, as Arrow.
        place: i32[n], position of each row's value in ``values``; -1 is null.
        count: i64[k], rows of each distinct value.
    """

    values: pa.Array
    place: np.ndarray
    count: np.ndarray

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Cells:
        """The distinct values of a column that is not nested."""
        if pa.types.is_null(column.type):
            return cls(pa.array([], pa.string()), np.full(len(column), -1, np.int32), np.zeros(0, np.int64))
        whole = (
            column.combine_chunks()
        )  # one piece unless it has more than 2 GB; pieces are encoded far more slowly
        pieces = whole if isinstance(whole, pa.ChunkedArray) else pa.chunked_array([whole], column.type)
        chunks = pieces.dictionary_encode().unify_dictionaries().chunks
        values = chunks[0].dictionary if chunks else pa.array([], column.type)
        places = [np.asarray(pc.fill_null(chunk.indices, -1)) for chunk in chunks]
        place = np.concatenate([np.empty(0, np.int32), *places])
        return cls(values, place, np.bincount(place[place >= 0], minlength=len(values)))

    def spread(self, values: np.ndarray, missing: float | int | bool) -> np.ndarray:
        """``values`` of the distinct values as values of the rows."""
        return np.append(values, np.asarray(missing, values.dtype))[self.place]

    @property
    def texts(self) -> list[str]:
        """The distinct values as texts without white space around them."""
        return [str(value).strip() for value in self.values.to_pylist()]

    @property
    def words(self) -> list[str]:
        """The distinct values as names of categories."""
        return [category_name(value) for value in self.values.to_pylist()]

    def matching(self, pattern: str) -> np.ndarray:
        """Which distinct texts match the whole regular expression, bool[k]; Arrow's, which is fast."""
        if not is_text(self.values.type):
            return np.zeros(len(self.values), bool)
        return np.asarray(pc.match_substring_regex(pc.utf8_trim_whitespace(self.values), f"^(?:{pattern})$"))


def category_name(value: object) -> str:
    """A value as the name of a category: no white space around it, whole numbers without a fraction."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    name = str(value).strip()
    return whole.group(1) if (whole := WHOLE.fullmatch(name)) else name


def is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def is_quantity(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def is_date(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) or pa.types.is_date(kind)


def is_duration(kind: pa.DataType) -> bool:
    return pa.types.is_duration(kind) or pa.types.is_time(kind)


# --- reading a column whose kind is known ---------------------------------------------------------------------------


def read(column: pa.ChunkedArray, how: Column) -> tuple[np.ndarray, np.ndarray]:
    """The values of a column, f64[n], and which rows hold something else, bool[n].

    A missing value is NaN. Of a category the values are positions in ``how.words``.
    """
    kind = column.type
    if how.kind == "category":
        cells = Cells.of(column)
        return _spread(cells, list(map(_category(how), cells.words)))
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan), np.zeros(len(column), bool)
    if is_text(kind) or how.kind == "boolean":
        parse = {"number": _number(how), "boolean": _boolean, "date": _date(how), "duration": _duration}[
            how.kind
        ]
        return _of_cells(Cells.of(column), parse, how)
    if how.kind == "number" and not how.percent and (is_quantity(kind) or pa.types.is_boolean(kind)):
        return _finite(column)
    if how.kind == "date" and is_date(kind) and how.zoned == (getattr(kind, "tz", None) is not None):
        return _seconds(column) / DAY, np.zeros(len(column), bool)
    if how.kind == "duration" and is_duration(kind):
        return _seconds(column), np.zeros(len(column), bool)
    there = np.asarray(pc.is_valid(column))
    if pa.types.is_floating(kind):
        there &= ~np.isnan(column.to_numpy())
    return np.full(len(column), np.nan), there


def _finite(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    empty = np.asarray(pc.is_null(column, nan_is_null=pa.types.is_floating(column.type)))
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    found = column.cast(pa.float64(), safe=False).to_numpy().astype(np.float64)
    return np.where(np.isfinite(found), found, np.nan), ~np.isfinite(found) & ~empty


def _seconds(column: pa.ChunkedArray) -> np.ndarray:
    """Dates and durations of any unit in seconds, f64[n]; null is NaN."""
    kind = column.type
    if pa.types.is_date32(kind):
        column, each = column.cast(pa.int32()), 1
    elif pa.types.is_date64(kind):
        column, each = column.cast(pa.int64()), 1000
    else:
        each = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}[kind.unit]
        column = column.cast(pa.int32()) if pa.types.is_time32(kind) else column.cast(pa.int64())
    empty = np.asarray(pc.is_null(column))
    ticks = np.asarray(pc.fill_null(column, 0))
    found = (
        ticks.astype(np.float64) * DAY if pa.types.is_date32(kind) else ticks // each + (ticks % each) / each
    )
    return np.where(empty, np.nan, found)


def _of_cells(
    cells: Cells, parse: Callable[[str], float | None], how: Column
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Every distinct value through ``parse``, which gives None for what it cannot read."""
    if how.kind != "number" or how.percent:
        return _spread(cells, list(map(parse, cells.texts)))
    plain = cells.matching(_PLAIN if how.decimal == "," else f"{_PLAIN}|{_DOTTED}")
    values, rest = np.full(len(plain), np.nan), np.flatnonzero(~plain)
    values[plain] = (
        pc.utf8_trim_whitespace(cells.values.filter(pa.array(plain))).cast(pa.float64()).to_numpy()
    )
    found = [parse(str(value).strip()) for value in cells.values.take(pa.array(rest)).to_pylist()]
    values[rest] = [np.nan if value is None else value for value in found]
    wrong = np.isinf(values)
    wrong[rest] = [value is None for value in found]
    return cells.spread(np.where(wrong, np.nan, values), np.nan), cells.spread(wrong, False)


def _spread(cells: Cells, found: Sequence[float | None]) -> tuple[np.ndarray, np.ndarray]:
    values = np.array([np.nan if value is None else value for value in found], np.float64)
    return cells.spread(values, np.nan), cells.spread(
        np.array([value is None for value in found], bool), False
    )


def _number(how: Column) -> Callable[[str], float | None]:
    def parse(text: str) -> float | None:
        if text.casefold() in MISSING:
            return np.nan
        found = number_in(text, how.decimal)
        return None if found is None or (found[1] == "%") != how.percent else found[0]

    return parse


def number_in(text: str, decimal: str) -> tuple[float, str] | None:
    """A written number and its unit ("%", a currency or none), read with this decimal mark."""
    match = _UNITS.fullmatch(text.replace("\u2212", "-"))
    assert match is not None  # every part may be empty
    sign, before, digits, after = match.groups()
    if (before and after) or not (shape := _NUMBERS[decimal].fullmatch(digits)):
        return None
    if sign and digits[0] in "+-":
        return None
    if mark := shape.group("mark"):
        digits = digits.replace(mark, "")
    value = float(digits.replace(",", "."))
    return (-value if sign == "-" else value, before or after or "") if np.isfinite(value) else None


def _boolean(text: str) -> float | None:
    word = category_name(text).casefold()
    return np.nan if word in MISSING else BOOLEANS.get(word)


def _category(how: Column) -> Callable[[str], float | None]:
    place = {word: float(number) for number, word in enumerate(how.words)}
    if how.ids:
        place = {str(number): float(number) for number in range(len(how.words))} | place
    return lambda text: place.get(
        text, np.nan if text.casefold() in BLANK or (how.ids and text == "-1") else None
    )


def _date(how: Column) -> Callable[[str], float | None]:
    def parse(text: str) -> float | None:
        if text.casefold() in MISSING:
            return np.nan
        found = date_in(text)
        return None if found is None or found[1] != how.zoned else found[0] / DAY

    return parse


def date_in(text: str) -> tuple[float, bool] | None:
    """Seconds since 1970 of a written date, and whether it has a time zone; the day comes last, or first with
    dots."""
    for pattern in _DATES:
        if match := pattern.fullmatch(text):
            parts = match.groupdict()
            break
    else:
        return None
    try:
        day = (
            datetime.date(int(parts["year"]), int(parts["month"]), int(parts.get("day") or 1)).toordinal()
            - EPOCH
        )
    except ValueError:
        return None
    seconds = _clock(parts)
    if seconds is None:
        return None
    zone = parts["zone"]
    if zone and zone[0] in "+-":
        away = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
        seconds -= away if zone[0] == "+" else -away
    return day * DAY + seconds, zone is not None


def _clock(parts: dict[str, str | None]) -> float | None:
    """Seconds since midnight; None where there is no such time."""
    hour, minute = int(parts["hour"] or 0), int(parts["minute"] or 0)
    second = float((parts["second"] or "0").replace(",", "."))
    return hour * 3600 + minute * 60 + second if hour <= 24 and minute < 60 and second < 61 else None


def _duration(text: str) -> float | None:
    """Seconds of a written duration or time of day: "1 days 02:03:04.5", "02:03"."""
    if text.casefold() in MISSING:
        return np.nan
    match = _DURATION.fullmatch(text)
    if not match or (match["days"] is None and match["hour"] is None):
        return None
    clock = _clock(match.groupdict())
    if clock is None:
        return None
    return int(match["days"] or 0) * DAY + (-clock if match["sign"] == "-" else clock)


# --- finding out the kind of a column of texts ----------------------------------------------------------------------


@dataclass(frozen=True)
class Writing:
    """What the texts of a column can be.

    Attributes:
        there: rows with a value.
        wrong: decimal mark ("." or ",") → rows whose value is not a number with it.
        differ: whether some value is another number with the other mark.
        commas: whether some number has a comma.
        example: a value that has a comma, or that differs.
        units: units of the numbers.
        codes: whether some value is a whole number with a leading zero.
    """

    there: int
    wrong: dict[str, int]
    differ: bool
    commas: bool
    example: str
    units: frozenset[str]
    codes: bool

    @property
    def numbers(self) -> bool:
        """Whether most values are numbers, with one decimal mark or the other."""
        return self.there > 0 and min(self.wrong.values()) <= (1 - MOSTLY) * self.there

    @property
    def mark(self) -> str | None:
        """The decimal mark that the values themselves show; None where they show none."""
        point, comma = self.wrong["."], self.wrong[","]
        if point == comma:
            return None
        return "." if point < comma else ","

    @property
    def mixed_units(self) -> bool:
        """Whether the numbers are in different units; a currency sign may be missing, a percent sign may not."""
        return len(self.units - {""}) > 1 or self.units >= {"", "%"}

    def decimal(self, given: str | None, shown: str | None) -> str | None:
        """The decimal mark to read the column with: the one that it shows itself; None where it is in doubt.

        Args:
            given: by the caller, for columns that may be read either way.
            shown: by other columns of the table.
        """
        mark = self.mark or ((given or shown or (None if self.commas else ".")) if self.differ else ".")
        return "," if mark == "," else mark and ("." if self.commas else "")


#: Of texts without a digit.
NO_NUMBERS = Writing(0, {".": 0, ",": 0}, False, False, "", frozenset(), False)


def plain_numbers(table: pa.Table) -> dict[str, np.ndarray]:
    """Name → numbers f64[n] of those columns whose every cell is a number that can be read in one way alone:
    in texts no comma, unit, leading zero or missing value. Texts are looked at together, since wide tables
    have many columns."""
    found: dict[str, np.ndarray] = {}
    for item, cells in zip(table.schema, table.columns, strict=True):
        if (pa.types.is_integer(item.type) or pa.types.is_floating(item.type)) and not cells.null_count:
            values = cells.cast(pa.float64(), safe=False).to_numpy().astype(np.float64)
            found |= {item.name: values} if np.isfinite(values).all() else {}
    names = [item.name for item in table.schema if item.type == pa.string()]
    size = max(1, _CELLS // max(1, len(table)))
    for some in (names[start : start + size] for start in range(0, len(names), size)):
        chunks = [chunk for name in some for chunk in table.column(name).chunks]
        texts = pc.utf8_trim_whitespace(pa.concat_arrays(chunks))
        match = lambda pattern, texts=texts: pc.match_substring_regex(texts, f"^(?:{pattern})$")  # noqa: E731
        whole = pc.and_not(match(_PLAIN), match(_CODE))
        good = pc.fill_null(pc.or_(whole, pc.and_not(match(_DOTTED), match(_GROUPED))), False)
        every = np.asarray(good).reshape(len(some), len(table)).all(1)
        kept = texts.filter(pa.array(np.repeat(every, len(table))))
        values = kept.cast(pa.float64()).to_numpy().copy().reshape(-1, len(table))
        named = zip(np.flatnonzero(every).tolist(), values, strict=True)
        found |= {some[place]: row for place, row in named if np.isfinite(row).all()}
    return found


def without_digits(table: pa.Table) -> set[str]:
    """The columns of texts without any digit: words, which are looked at together as in
    :func:`plain_numbers`."""
    names = [item.name for item in table.schema if item.type == pa.string()]
    size = max(1, _CELLS // max(1, len(table)))
    found: set[str] = set()
    for some in (names[start : start + size] for start in range(0, len(names), size)):
        texts = pa.concat_arrays([chunk for name in some for chunk in table.column(name).chunks])
        digits = np.asarray(pc.fill_null(pc.match_substring_regex(texts, r"\p{Nd}"), False))
        found |= {
            name for name, there in zip(some, digits.reshape(len(some), -1).any(1), strict=True) if not there
        }
    return found


def writing(cells: Cells) -> Writing:
    """Look at the distinct texts of a column, until too many are not numbers."""
    whole, dotted, grouped = (
        cells.matching(_PLAIN),
        cells.matching(_DOTTED),
        cells.matching(_GROUPED),
    )
    numbers = whole | dotted
    there, doubtful = int(cells.count[numbers].sum()), dotted & grouped
    wrong, units = {".": 0, ",": int(cells.count[dotted & ~grouped].sum())}, {""} if numbers.any() else set()
    differ, commas, codes = bool(doubtful.any()), False, bool(cells.matching(_CODE).any())
    example = str(cells.values[int(np.argmax(doubtful))]) if differ else ""
    rest, most = np.flatnonzero(~numbers), (1 - MOSTLY) * cells.count.sum()
    for value, count in zip(
        cells.values.take(pa.array(rest)).to_pylist(), cells.count[rest].tolist(), strict=True
    ):
        text = str(value).strip()
        if text.casefold() in MISSING:
            continue
        there += count
        point, comma = number_in(text, "."), number_in(text, ",")
        wrong["."] += count * (point is None)
        wrong[","] += count * (comma is None)
        if (found := point or comma) is None:
            if min(wrong.values()) > most:
                break
            continue
        units.add(found[1])
        other = point is not None and comma is not None and point[0] != comma[0]
        if "," in text and not commas:
            example = text
        differ, commas = differ or other, commas or "," in text
    return Writing(there, wrong, differ, commas, example, frozenset(units), codes)


def quantity(
    values: pa.ChunkedArray, name: str, given: str | None, shown: str | None, report: Report,
    cells: Cells | None = None, found: Writing | None = None,
) -> Column | None:  # fmt: skip
    """How a column of numbers, dates or durations is read; None where it holds none.

    Args:
        values: the column; not nested.
        name: of the column.
        given: the decimal mark that the caller names.
        shown: the decimal mark that other columns of the table show.
        report: takes how written numbers and dates are read.
        cells, found: of a column of texts, where they are known.

    Raises:
        DataError: the decimal mark is in doubt.
    """
    kind = values.type
    if pa.types.is_null(kind) or pa.types.is_boolean(kind) or is_quantity(kind):
        return Column(name)
    if is_date(kind):
        report.add("counted", _("dates converted to days since 1970-01-01"), column=name)
        return Column(name, "date", zoned=getattr(kind, "tz", None) is not None)
    if is_duration(kind):
        report.add("counted", _("durations converted to seconds"), column=name)
        return Column(name, "duration")
    if not is_text(kind):
        return None
    cells = cells or Cells.of(values)
    found = found or writing(cells)
    if found.numbers and not found.mixed_units:
        decimal = found.decimal(given, shown)
        if decimal is None:
            raise DataError(
                _(
                    "column {column!r} contains numbers such as {example!r}, in which the comma may be a "
                    "decimal or thousands separator: pass decimal=',' or decimal='.'."),
                column=name, example=found.example,
            )  # fmt: skip
        if decimal:
            what = _("decimal commas converted") if decimal == "," else _("thousands separators removed")
            report.add("repaired", what, column=name, detail=repr(found.example))
        if unit := ", ".join(sorted(found.units - {""})):
            report.add("repaired", _("units of numbers removed"), column=name, detail=unit)
        return Column(name, decimal=decimal, percent="%" in found.units)
    if (moment := moments(cells)) is not None:
        what = (
            _("dates converted to days since 1970-01-01")
            if moment[0] == "date"
            else _("durations converted to seconds")
        )
        report.add("counted", what, column=name)
        return Column(name, moment[0], zoned=moment[1])
    return None


def moments(cells: Cells) -> tuple[str, bool] | None:
    """ "date" or "duration" and whether there is a time zone, where most texts of a column are such; else
    None."""
    there, zones, durations, others, most = 0, {True: 0, False: 0}, 0, 0, (1 - MOSTLY) * cells.count.sum()
    for text, count in zip(cells.texts, cells.count.tolist(), strict=True):
        if text.casefold() in MISSING:
            continue
        there += count
        if (found := date_in(text)) is not None:
            zones[found[1]] += count
        elif _duration(text) is not None:
            durations += count
        elif (others := others + count) > most:
            return None
    for zoned, count in zones.items():
        if there and count >= MOSTLY * there:
            return "date", zoned
    return ("duration", False) if there and durations >= MOSTLY * there else None


def words_of(cells: Cells) -> tuple[str, ...]:
    """The categories of a column, sorted (numbers as numbers)."""
    words = {text for text in cells.words if text.casefold() not in BLANK}
    return tuple(sorted(words, key=order_of(words)))


def order_of(names: set[str]) -> Callable[[str], object]:
    """How to sort names: as numbers where all are numbers."""
    values = {name: number_of(name) for name in names}
    if any(value is None for value in values.values()):
        return lambda name: name
    return lambda name: (values[name], name)


def number_of(text: str) -> float | None:
    """The number that a text is for Python, or None."""
    try:
        return float(text)
    except ValueError:
        return None


def alike(names: Sequence[str]) -> list[list[str]]:
    """Groups of names that differ only in case, white space or Unicode form."""
    groups: dict[str, list[str]] = {}
    for name in names:
        key = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        groups.setdefault(key, []).append(name)
    return [group for group in groups.values() if len(group) > 1]
