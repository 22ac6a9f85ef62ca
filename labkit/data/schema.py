"""Schema of rows: source columns, classes, problem type, and counts by split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from labkit.core.config import Config, option
from labkit.core.errors import DataError
from labkit.data import memmap
from labkit.data.arrow import batches, numbers, text_columns
from labkit.data.cells import Column
from labkit.data.time_steps import TimeStep
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets import Dataset

#: What an example can be, and what can be known of it.
MODALITIES = ("text", "image", "features", "audio", "series", "interactions")
PROBLEM_TYPES = ("class", "labels", "number")


@dataclass(frozen=True)
class Lengths(Config):
    """Lengths of texts in characters (of both texts together for pairs)."""

    min: int
    median: float
    mean: float
    p95: float
    max: int


@dataclass(frozen=True)
class Spec(Config):
    """What rows hold: everything a model or a panel must know of the data."""

    text: tuple[str, ...] = option((), "Source columns of the text; two for pairs of texts.")
    label: str | None = option(None, "Source column of the label.")
    classes: tuple[str, ...] = option(
        (), "Class names in the order of their ids, or names of the numeric targets."
    )
    problem_type: str = option(
        "class", "Problem type: one class, several labels, or numbers.", choices=PROBLEM_TYPES
    )
    modality: str = option("text", "Modality of the examples.", choices=MODALITIES)
    rate: int = option(0, "Sampling rate of sounds in Hz.", low=0)
    transcript: str = option("", "Source column of the transcripts of sounds; empty for none.")
    features: tuple[Column, ...] = option((), "Source columns of the features and their encoding.")
    mask_classes: tuple[str, ...] = option((), "Names of the classes of pixels, of pictures with masks.")
    time: str = option("", "Source column of the times of series.")
    series: str = option("", "Source column that names the series; empty for a single one.")
    user: str = option("", "Source column of the users of interactions.")
    item: str = option("", "Source column of their items.")
    title: str = option("", "Source column of the titles of items; empty for none.")
    step: TimeStep | None = option(None, "Step between two values of a series.")
    sizes: dict[str, int] = option(help="Split → number of rows.", factory=dict)
    counts: dict[str, dict[str, int]] = option(help="Split → class name → number of rows.", factory=dict)
    unlabelled: dict[str, int] = option(help="Split → number of rows without a label (-1).", factory=dict)
    lengths: dict[str, Lengths] = option(help="Split → text length statistics.", factory=dict)

    @property
    def pairs(self) -> bool:
        """Whether an example is two texts."""
        return len(self.text) == 2

    @property
    def rows(self) -> dict[str, int]:
        """Split → rows."""
        return dict(self.sizes)

    def class_counts(self) -> dict[str, int]:
        """Class → rows in all splits."""
        return {name: sum(counts[name] for counts in self.counts.values()) for name in self.classes}

    def check_trainable(self) -> None:
        """Raise :class:`DataError` unless the training rows (all rows before a split) have targets, of two
        classes or more where each has one."""
        counts = self.counts.get("train", self.class_counts())
        shown = [name for name, count in counts.items() if count]
        if not self.label and not shown:
            raise DataError(
                _('the rows have no labels: name the label column with lk.load(..., label="...").')
            )
        if not shown:
            raise DataError(_("no training row has a target in {label}."), label=self.label)
        if self.problem_type == "class" and len(shown) < 2:
            raise DataError(
                _(
                    "classification needs training rows of at least two classes; these have {shown}: {counts}."
                ),
                shown=", ".join(shown) or _("none"),
                counts=dict(counts),
            )


def describe(spec: Spec, splits: Mapping[str, Dataset]) -> Spec:
    """``spec`` with counts and lengths taken from ``splits``, by Arrow compute."""
    there = {name: dataset for name, dataset in splits.items() if spec.text and len(dataset)}
    return with_counts(spec, splits).replace(
        lengths={name: _lengths(dataset) for name, dataset in there.items()}
    )


def with_counts(spec: Spec, splits: Mapping[str, Dataset]) -> Spec:
    """``spec`` with the counts taken from ``splits``."""
    counts, unlabelled = {}, {}
    for name, dataset in splits.items():
        ids = numbers(dataset, "label")
        known = sum(int(np.count_nonzero(ids[part] >= 0)) for part in memmap.portions(len(ids)))
        counts[name] = dict(zip(spec.classes, _counted(dataset, ids, spec, known), strict=True))
        unlabelled[name] = len(ids) - known
    sizes = {name: len(dataset) for name, dataset in splits.items()}
    return spec.replace(sizes=sizes, counts=counts, unlabelled=unlabelled)


def check_splits(spec: Spec, splits: Mapping[str, Dataset]) -> None:
    """Raise :class:`DataError` where a split lacks a normalised column, or a label is not the id of a class."""
    needed = ["label", "row", *("text", "text_pair")[: len(spec.text)]]
    needed += ["target"] if spec.problem_type != "class" else []
    needed += ["mask"] if spec.mask_classes else []
    for name, dataset in splits.items():
        if missing := [wanted for wanted in needed if wanted not in dataset.column_names]:
            raise DataError(
                _("split {name!r} lacks the columns {missing}."), name=name, missing=", ".join(missing)
            )
        top = int(numbers(dataset, "label").max()) if len(dataset) and spec.problem_type == "class" else -1
        if top >= len(spec.classes):
            raise DataError(
                _("split {name!r} has the label {top}; there are {n_classes} classes."),
                name=name, top=top, n_classes=len(spec.classes),
            )  # fmt: skip


def _counted(dataset: Dataset, ids: np.ndarray, spec: Spec, known: int) -> list[int]:
    """Rows of every class; rows that have the number, where there are numbers."""
    if spec.problem_type == "number":
        return [known] * len(spec.classes)
    found = np.zeros(len(spec.classes), np.int64)
    if spec.problem_type == "labels":
        for part in batches(dataset, ["target"]):
            values = np.asarray(part.column(0).combine_chunks().flatten()).reshape(len(part), -1)
            found += values.sum(0).astype(np.int64)
        return found.tolist()
    for part in memmap.portions(len(ids)):
        found += np.bincount(ids[part][ids[part] >= 0], minlength=len(found))
    return found.tolist()


def _lengths(dataset: Dataset) -> Lengths:
    size, done = memmap.array(len(dataset), np.float64), 0
    for table in batches(dataset, text_columns(dataset)):
        parts = [pc.utf8_length(part) for part in table.columns]
        size[done : done + len(table)] = np.sum([np.asarray(part) for part in parts], axis=0)
        done += len(table)
    least, mean, most = int(size.min()), round(float(size.mean()), 2), int(size.max())
    middle, high = np.quantile(size, [0.5, 0.95], overwrite_input=True)
    return Lengths(least, float(middle), mean, float(high), most)
