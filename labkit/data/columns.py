"""Detection of text and label columns: as given, by name, or by content."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Value

from labkit.core.errors import ConfigError, DataError, nearest
from labkit.data.arrow import batches, column, nested
from labkit.data.cells import alike
from labkit.data.io.arrow_cache import ROW, Part
from labkit.data.labels import Classes
from labkit.data.report import Report, visible
from labkit.i18n import _
from labkit.i18n.labels import split_name

if TYPE_CHECKING:
    from datasets.features.features import FeatureType

TEXT = (
    "text",
    "sentence",
    "review",
    "content",
    "comment",
    "message",
    "body",
    "tweet",
    "文本",
    "内容",
    "评论",
    "正文",
)
#: Columns that labkit adds to every split.
RESERVED = ("text", "text_pair", "label", "row", "target")
LABEL = ("label", "labels", "target", "class", "category", "sentiment", "y", "标签", "类别", "分类", "情感")


@dataclass(frozen=True)
class Choice:
    """What the caller says about columns and bad rows: see :func:`labkit.data.io.load.load`."""

    text: str | tuple[str, ...] | None = None
    label: str | tuple[str, ...] | bool | None = None
    classes: Classes | None = None
    number: tuple[str, ...] = ()
    separator: str | None = None
    answer: str | None = None
    tags: str | None = None
    messages: str | None = None
    transcript: str | None = None
    features: bool | tuple[str, ...] = False
    groups: tuple[str, ...] = ()
    indicators: bool | None = None
    time: str | None = None
    series: str | None = None
    step: str | None = None
    user: str | None = None
    item: str | None = None
    title: str | None = None
    decimal: str | None = None
    rate: int = 0
    masked: bool = False  # pictures with a mask each
    on_bad: str = "error"
    missing: str = "error"
    kind: str = "text"

    def __post_init__(self) -> None:
        known_values = {
            "on_bad": ("error", "skip"),
            "missing": ("error", "drop", "keep"),
            "decimal": (None, ".", ","),
        }
        for name, known in known_values.items():
            if (value := getattr(self, name)) not in known:
                listed = ", ".join(repr(one) for one in known if one is not None)
                raise ConfigError(
                    _("{column} = {value!r} is not one of {listed}.{hint}"),
                    column=name, value=value, listed=listed, hint=nearest(str(value), filter(None, known)),
                )  # fmt: skip
        if self.number and self.label:
            raise ConfigError(
                _("give either number = {number!r} or label = {label!r}, not both."),
                number=self.number,
                label=self.label,
            )
        if self.answer and (self.number or self.label):
            raise ConfigError(
                _("give either answer = {answer!r} or label = {label!r}, not both."),
                answer=self.answer,
                label=self.label or self.number,
            )
        if self.tags and (self.label or self.number or self.answer or self.features):
            raise ConfigError(
                _("tags = {tags!r} excludes label, number, answer and features."), tags=self.tags
            )
        if self.messages and (
            self.text is not None or self.label or self.number or self.answer or self.tags or self.features
        ):
            raise ConfigError(
                _("messages = {messages!r} excludes text, label, number, answer, tags and features."),
                messages=self.messages,
            )
        if self.masked and (self.label or self.number or self.answer or self.tags):
            raise ConfigError(
                _(
                    "pictures with masks have a class for every pixel: leave label, number, answer and tags out."
                )
            )
        if self.transcript and (self.label or self.number or self.answer or self.features or self.tags):
            raise ConfigError(
                _("transcript = {transcript!r} excludes label, number, answer, tags and features."),
                transcript=self.transcript,
            )
        if self.indicators and not self.features:
            raise ConfigError(_("indicators=True needs features: pass features=True or their names."))
        if self.user or self.item or self.title:
            self._check_interactions()
            return
        if self.time is None and (self.series or self.step):
            raise ConfigError(_("series and step are of time series: name the time column with time=…."))
        if self.time is not None and (self.label or self.answer or self.text is not None or self.features):
            raise ConfigError(
                _("time = {time!r} reads time series, whose value columns are number=…: leave text, label, answer and "
                  "features out."),
                time=self.time,
            )  # fmt: skip
        if self.time is not None and not self.number:
            raise ConfigError(
                _("time = {time!r} needs the value columns of the series: number=…."), time=self.time
            )
        if self.features and self.text is not None:
            raise ConfigError(
                _("give either text = {text!r} or features = {features!r}, not both."),
                text=self.text,
                features=self.features,
            )

    def _check_interactions(self) -> None:
        """Raise :class:`ConfigError` where columns of interactions are missing, or others are given."""
        if not (self.user and self.item and self.time):
            raise ConfigError(_("interactions need the columns user=…, item=… and time=…."))
        if self.label or self.answer or self.text is not None or self.features or self.number or self.series:
            raise ConfigError(
                _(
                    "user and item read interactions: leave text, label, number, answer, features and series out."
                )
            )


def names_of(table: Dataset) -> list[str]:
    return [name for name in table.column_names if name != ROW]


def check_columns(table: Dataset, wanted: Iterable[str], split: str) -> None:
    there = set(names_of(table))
    for name in wanted:
        if name not in there:
            known = visible(", ".join(names_of(table)), 400)
            raise DataError(
                _("{split} has no column {column!r}.{hint} It has: {known}."),
                split=split_name(split), column=name, hint=nearest(name, names_of(table)), known=known,
            )  # fmt: skip


def free_name(name: str, taken: Collection[str], report: Report) -> str:
    """``name``, or another one where it is reserved or taken already; the change is reported."""
    if name not in RESERVED and name not in taken:
        return name
    made = f"source_{name}"
    while made in taken:
        made += "_"
    report.add("repaired", _("column renamed"), column=name, detail=_("now {made!r}", made=made))
    return made


def note_alike(names: Sequence[str], report: Report) -> None:
    """Count columns whose names differ only in case, white space or Unicode form."""
    for group in alike(names):
        report.add("counted", _("columns with visually identical names"), detail=", ".join(map(repr, group)))


def text_columns(table: Dataset, choice: Choice, report: Report) -> tuple[str, ...]:
    if choice.text is not None:
        given = (choice.text,) if isinstance(choice.text, str) else tuple(choice.text)
        if len(given) not in (1, 2) or len(set(given)) < len(given):
            raise DataError(
                _("text = {text!r} must name one column, or two different ones for pairs of texts."),
                text=choice.text,
            )
        return given
    names = [name for name in names_of(table) if name != choice.label]
    if found := _by_name(names, TEXT, "text"):
        return (found,)
    features = table.info.features
    sizes = {name: _mean_length(table, name) for name in names if _is_text(features[name])}
    if not sizes:
        raise DataError(
            _("no text column found; the columns are {names}. Pass text=…."),
            names=visible(", ".join(names), 400),
        )
    ranked = sorted(sizes, key=lambda name: -sizes[name])
    if len(ranked) > 1 and sizes[ranked[1]] > 0.5 * sizes[ranked[0]] and sizes[ranked[1]] > 15:
        raise _ambiguous("text", [name for name in ranked if sizes[name] > 0.5 * sizes[ranked[0]]])
    report.add(
        "counted", _("text column detected by its length"), column=ranked[0], detail=_('set it with text="…"')
    )
    return (ranked[0],)


def label_column(
    parts: Mapping[str, Part], text: tuple[str, ...], choice: Choice, report: Report
) -> str | None:
    if choice.label is False or choice.number or choice.answer or isinstance(choice.label, tuple):
        return None
    if choice.label is True:
        raise DataError(
            _('label=True is not valid: name the column with label="…", or pass label=False for none.')
        )
    table = next(iter(parts.values())).table
    if choice.label is not None:
        if choice.label in text:
            raise DataError(_("column {label!r} cannot be both the text and the label."), label=choice.label)
        check_columns(table, [choice.label], next(iter(parts)))
        return choice.label
    names = [name for name in names_of(table) if name not in text]
    if found := _by_name(names, LABEL, "label"):
        return found
    schema = table.data.table.schema
    few = [name for name in names if _has_few_values(table, name, schema.field(name).type)]
    if len(few) > 1:
        raise _ambiguous("label", few)
    if few:
        report.add(
            "counted",
            _("label column detected by its few distinct values"),
            column=few[0],
            detail=_('set it with label="…"'),
        )
    return few[0] if few else None


def _by_name(names: list[str], known: tuple[str, ...], argument: str) -> str | None:
    """The column that goes by a known name; one called exactly like the argument comes first."""
    found = [name for name in names if name.casefold() in known]
    if exact := [name for name in found if name.casefold() == argument]:
        found = exact
    if len(found) > 1:
        raise _ambiguous(argument, found)
    return found[0] if found else None


#: Argument → noun.
NOUNS = {"text": _("text"), "label": _("label")}


def _ambiguous(argument: str, names: list[str]) -> DataError:
    listed = ", ".join(repr(visible(name, 60)) for name in names)
    pair = (
        _(", or text=({name!r}, {pair!r}) for pairs of texts", name=names[0], pair=names[1])
        if argument == "text"
        else ""
    )
    none = _(", or label=False for none") if argument == "label" else ""
    return DataError(
        _("several columns could be the {what}: {listed}. Pass {argument}={name!r}{pair}{none}."),
        what=NOUNS[argument], argument=argument, listed=listed, name=names[0], pair=pair, none=none,
    )  # fmt: skip


def _is_text(feature: FeatureType) -> bool:
    return isinstance(feature, Value) and feature.dtype in ("string", "large_string")


def _mean_length(table: Dataset, name: str) -> float:
    lengths = [pc.sum(pc.binary_length(part.column(0))).as_py() or 0 for part in batches(table, [name])]
    return sum(lengths) / max(1, len(table))


def _has_few_values(table: Dataset, name: str, kind: pa.DataType) -> bool:
    """Two to fifty different values, each in two rows or more on average; floats and nested columns never."""
    if nested(kind) or pa.types.is_null(kind) or pa.types.is_floating(kind) or pa.types.is_binary(kind):
        return False
    distinct = pc.count_distinct(column(table, name)).as_py()
    return 2 <= distinct <= min(50, len(table) // 2)
