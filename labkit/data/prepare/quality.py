"""Data quality report by row number: loading notes, duplicates, label conflicts, leakage, rare classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from labkit.data.arrow import batches, numbers, text_columns
from labkit.data.prepare import dedupe, pii
from labkit.data.prepare.split import leakage
from labkit.data.rows import Rows
from labkit.data.targets import targets_of
from labkit.i18n import _

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: Row numbers that a problem names, at most; its count is exact.
SHOWN = 50
#: A class with less than this share of the most frequent one is rare; below this many rows it is too small to
#: learn.
RARE, FEW = 0.1, 10
#: Kinds of personal data and what they are called.
KINDS = {
    "token": _("tokens in web addresses"), "email": _("e-mail addresses"), "iban": _("IBANs"),
    "resident-id": _("Chinese resident IDs"), "card": _("card numbers"), "ip": _("IP addresses"),
    "phone": _("phone numbers"),
}  # fmt: skip
#: Rare classes that have a line each; more are in one.
NAMED = 8
#: A text longer than this many times the 95th percentile is far out.
FAR = 5


@dataclass(frozen=True)
class QualityProblem:
    """Something to look at before training.

    Attributes:
        kind: "refused", "repaired", "counted" (from the report of loading), "copies", "conflicts", "leakage",
            "unlabelled", "rare" (a class), "rare_classes" (many), "far", "pii" (personal data).
        level: "bad" harms training or evaluation, "warn" may, "info" is informative.
        count: rows (or, where no rows are named, times or classes) it concerns.
        rows: their numbers, the first :data:`SHOWN`.
        what: which reason, class or split, as text from the data or the report.
    """

    kind: str
    level: str
    count: int
    rows: tuple[int, ...] = ()
    what: str = ""


@dataclass(frozen=True)
class Histogram:
    """How often values fall between edges; ``edges`` has one entry more than ``counts``."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, values: np.ndarray, bins: int = 32) -> Histogram:
        """Of numbers [n]; the last bin takes all above the 99.5th percentile."""
        if not len(values):
            return cls((0.0, 1.0), (0,))
        low, high = float(np.min(values)), float(np.quantile(values, 0.995))
        whole = np.issubdtype(values.dtype, np.integer)
        width = max((high - low) / bins, 1.0 if whole else 1e-9)
        width = float(np.ceil(width)) if whole else width
        count = max(1, min(bins, int(np.ceil((high - low + whole) / width))))
        edges = low + width * np.arange(count + 1)
        counts = np.histogram(np.minimum(values, edges[-1] - width / 2), edges)[0]
        return cls(tuple(edges.tolist()), tuple(counts.tolist()))


@dataclass(frozen=True)
class DataQuality:
    """Rows, looked over: see :func:`check`."""

    rows: int
    problems: tuple[QualityProblem, ...] = ()
    lengths: Histogram | None = None  # of texts, in characters; None where there are none
    classes: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, Histogram] = field(
        default_factory=dict
    )  # of what is to be predicted, where that is numbers


def check(rows: Rows) -> DataQuality:
    """Look rows over. Nothing is changed; it takes as long as hashing every text."""
    counts = {} if rows.schema.problem_type == "number" else rows.spec.class_counts()
    found = [
        *_reported(rows),
        *_copied(rows),
        *_leaked(rows),
        *_labels(rows, counts),
        *_far(rows),
        *_personal(rows),
    ]
    order = {"bad": 0, "warn": 1, "info": 2}
    ranked = sorted(found, key=lambda problem: order[problem.level])
    sizes = _lengths(rows)
    lengths = None if sizes is None else Histogram.of(sizes)
    return DataQuality(len(rows), tuple(ranked), lengths, counts, _numbers(rows))


def _reported(rows: Rows) -> Iterator[QualityProblem]:
    for action, reasons in rows.report.counts().items():
        named = rows.report.of(action)
        level = {"refused": "warn", "repaired": "warn"}.get(action, "info")
        for reason, count in reasons.items():
            notes = named.get(reason, [])
            numbered = tuple(note.row for note in notes if note.row is not None)[:SHOWN]
            detail = next((note.detail for note in notes if note.detail), "")
            alone = detail and len(notes) == 1
            what = _("{reason}: {detail}", reason=reason, detail=detail) if alone else reason
            yield QualityProblem(action, level, count, numbered, what)


def _copied(rows: Rows) -> Iterator[QualityProblem]:
    table = dedupe.table(rows)
    again = table["row"][table.duplicated("key")]
    if len(again):
        yield QualityProblem("copies", "warn", len(again), _first(again))
    labels = table["label"].where(table["label"] >= 0)
    disagree = labels.notna() & (labels.groupby(table["key"]).transform("nunique") > 1)
    if disagree.any():
        yield QualityProblem("conflicts", "bad", int(disagree.sum()), _first(table["row"][disagree]))


def _leaked(rows: Rows) -> Iterator[QualityProblem]:
    if "train" not in rows.splits:
        return
    for part in leakage(rows).splits:
        if part.leaked:
            level = "bad" if part.share > 0.01 else "warn"
            yield QualityProblem(
                "leakage", level, part.leaked, tuple(row for row, _ in part.examples), part.split
            )


def _labels(rows: Rows, counts: dict[str, int]) -> Iterator[QualityProblem]:
    unlabelled = sum(rows.spec.unlabelled.values())
    if rows.spec.label and unlabelled:
        found = (numbers(part, "row")[numbers(part, "label") < 0] for part in rows.splits.values())
        yield QualityProblem("unlabelled", "info", unlabelled, _first(np.concatenate(list(found))))
    most = max(counts.values(), default=0)
    rare = {name: count for name, count in counts.items() if count < FEW or count < RARE * most}
    if len(rare) > NAMED:
        level = "bad" if min(rare.values()) < 2 else "warn"
        listed = ", ".join([*list(rare)[:NAMED], "…"])
        yield QualityProblem("rare_classes", level, len(rare), what=listed)
        return
    for name, count in rare.items():
        yield QualityProblem("rare", "bad" if count < 2 else "warn", count, what=name)


def _personal(rows: Rows) -> Iterator[QualityProblem]:
    for kind, where in pii.row_numbers(rows).items():
        yield QualityProblem("pii", "warn", len(where), tuple(where[:SHOWN]), KINDS[kind])


def _far(rows: Rows) -> Iterator[QualityProblem]:
    if (sizes := _lengths(rows)) is None or len(sizes) < 20:
        return
    limit = FAR * max(float(np.quantile(sizes, 0.95)), 1.0)
    if (far := np.flatnonzero(sizes > limit)).size:
        order = np.concatenate([numbers(part, "row") for part in rows.splits.values()])
        yield QualityProblem("far", "info", far.size, _first(order[far]), f"{limit:.0f}")


def _numbers(rows: Rows) -> dict[str, Histogram]:
    """The numbers to be predicted, by name, of the rows that have them."""
    if rows.schema.problem_type != "number":
        return {}
    parts = [targets_of(split)[numbers(split, "label") >= 0] for split in rows.splits.values() if len(split)]
    values = np.concatenate(parts)
    return {name: Histogram.of(values[:, place]) for place, name in enumerate(rows.schema.classes)}


def _lengths(rows: Rows) -> np.ndarray | None:
    """Characters of every text (of both together for pairs), i64[n], in the order of the splits."""
    import pyarrow.compute as pc

    if not rows.spec.text:
        return None
    found = [
        sum(np.asarray(pc.utf8_length(part), np.int64) for part in table.columns)
        for split in rows.splits.values()
        for table in batches(split, text_columns(split))
    ]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _first(values: ArrayLike) -> tuple[int, ...]:
    return tuple(sorted(int(value) for value in np.asarray(values))[:SHOWN])
