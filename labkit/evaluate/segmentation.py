"""Evaluation of segmentation: IoU of every class and of the boundaries, with intervals by picture, beside a table of
colours.

Pixels of one picture are not independent: intervals resample whole pictures.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import pandas as pd
from scipy import ndimage

from labkit.core.config import checked_seed
from labkit.core.errors import DataError
from labkit.data.arrow import numbers
from labkit.data.batching.arrays import stack
from labkit.data.masks import UNKNOWN, masks_of
from labkit.data.rows import Rows
from labkit.evaluate.compared_report import ComparedReport
from labkit.evaluate.intervals import Interval, finite_percentiles, or_wilson
from labkit.evaluate.shown import SCORED, Table
from labkit.i18n import _
from labkit.inference.registry import pipeline_of
from labkit.inference.segmenting import SegmentationPipeline
from labkit.tasks.segment import iou

if TYPE_CHECKING:
    from labkit.runs.handle import RunHandle

RESAMPLES, DRAWN_AT_ONCE = 1000, 2**22
COLOURS, USUAL = _("class by colour"), _("most frequent class")
#: Tolerance of boundaries, as a share of the diagonal of a picture; at least one pixel (Csurka et al. 2013).
TOLERANCE = 0.0075


class SegmentationReport(ComparedReport):
    """Predicted masks beside the true ones.

    Args:
        truth, found: u8[n, height, width], numbers of classes; :data:`~labkit.data.masks.UNKNOWN` in ``truth`` for a
            pixel that no score counts.
        rows: i64[n], row numbers.
        classes: their names.

    Scores, over the known pixels of all pictures: ``miou``, the mean over classes of the intersection over union
    (Jaccard index); ``iou NAME`` of each; ``accuracy`` of the pixels; ``boundary_f1``, the mean over classes of the F1
    of boundary pixels, right within 0.75 % of the diagonal of a picture (one pixel at least; Csurka et al. 2013).
    Intervals resample the pictures.
    """

    main: ClassVar[str] = "miou"
    better: ClassVar[int] = 1

    def __init__(
        self, truth: np.ndarray, found: np.ndarray, rows: np.ndarray, classes: tuple[str, ...], *, split: str = "test",
        seed: int = 0,
    ):  # fmt: skip
        if truth.shape != found.shape or len(truth) != len(rows):
            raise DataError(
                _("masks of shape {found} for true masks of shape {truth}."),
                found=found.shape,
                truth=truth.shape,
            )
        self.truth, self.found, self.rows, self.classes = truth, found, np.asarray(rows), classes
        self.split, self.seed = split, checked_seed(seed)
        self.baselines: dict[str, Self] = {}
        self.pictures: np.ndarray | None = None  # of the rows, where they are to be shown
        self.confusions = confusions(truth, found, len(classes))
        self.boundaries = boundaries(truth, found, len(classes))
        if not self.confusions.any():
            raise DataError(_("no pixel of {split} has a known class."), split=split)

    def _scored(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Scores [r] with each picture taken ``weights`` [r, n] times."""
        count = len(self.classes)
        pixels = (weights @ self.confusions.reshape(len(self.rows), -1)).reshape(-1, count, count)
        each, right = iou(pixels), np.trace(pixels, axis1=1, axis2=2)
        edges = (weights @ self.boundaries.reshape(len(self.rows), -1)).reshape(-1, count, 4)
        precision, recall = (edges[..., n] / np.maximum(edges[..., n + 1], 1) for n in (0, 2))
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        f1 = np.where(edges[..., 1] + edges[..., 3] > 0, f1, np.nan)
        return {
            "miou": _mean(each),
            **{f"iou {name}": each[:, number] for number, name in enumerate(self.classes)},
            "accuracy": right / np.maximum(pixels.sum((1, 2)), 1),
            "boundary_f1": _mean(f1),
        }

    @cached_property
    def scores(self) -> dict[str, float]:
        """Every score by name."""
        return {name: float(each[0]) for name, each in self._scored(np.ones((1, len(self.rows)))).items()}

    @cached_property
    def _draws(self) -> dict[str, np.ndarray]:
        count = len(self.rows)
        random, at_once = np.random.default_rng(self.seed), max(1, DRAWN_AT_ONCE // count)
        parts = [
            self._scored(
                random.multinomial(count, np.full(count, 1 / count), size=min(at_once, RESAMPLES - start))
            )
            for start in range(0, RESAMPLES, at_once)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """95 % bootstrap intervals of every score, from resampling the pictures."""
        return {
            name: or_wilson(finite_percentiles(each), len(self.rows)) for name, each in self._draws.items()
        }

    @property
    def confusion(self) -> pd.DataFrame:
        """Pixels by true class (rows) and predicted class (columns)."""
        return pd.DataFrame(self.confusions.sum(0), index=list(self.classes), columns=list(self.classes))

    @cached_property
    def per_picture(self) -> pd.DataFrame:
        """``row``, ``miou`` over the classes in the picture or its prediction, and ``accuracy`` of every picture."""
        pixels = self.confusions.sum((1, 2))
        right = np.trace(self.confusions, axis1=1, axis2=2)
        accuracy = np.where(pixels > 0, right / np.maximum(pixels, 1), np.nan)
        return pd.DataFrame({"row": self.rows, "miou": _mean(iou(self.confusions)), "accuracy": accuracy})

    def _line(self) -> dict[str, float]:
        return {**super()._line(), **{f"iou {name}": self.scores[f"iou {name}"] for name in self.classes}}

    def _gains(self, other: Self) -> dict[str, float]:
        """``gain`` of the mIoU, and ``gain NAME`` of the IoU of each class."""
        gains = super()._gains(other)
        for name in self.classes:
            gains |= self._gain(other, f"iou {name}", f"gain {name}")
        return gains

    def _has_rows_of(self, other: Self) -> bool:
        return np.array_equal(self.rows, other.rows) and np.array_equal(self.truth, other.truth)

    def predictions(self) -> pd.DataFrame:
        """Of every picture its row, its scores, and the share of its pixels that each class is predicted for."""
        shares = {
            f"share {name}": (self.found == number).mean((1, 2)) for number, name in enumerate(self.classes)
        }
        return self.per_picture.assign(**shares)

    def mistakes(self, n: int = 10) -> pd.DataFrame:
        """The ``n`` pictures with the smallest share of right pixels."""
        return self.predictions().sort_values("accuracy", kind="stable").head(n).reset_index(drop=True)

    def _heading(self) -> str:
        return (
            f"{self.split}: {len(self.rows):,} pictures, {int(self.confusions.sum()):,} pixels of known class"
        )

    def _tables(self) -> list[Table]:
        scored = [
            [name, f"{value:.4f}", "{:.4f} to {:.4f}".format(*self.intervals[name])]
            for name, value in self.scores.items()
        ]
        tables: list[Table] = [(SCORED, scored)]
        if self.baselines:
            lines = []
            for name, line in self.compare(self.baselines).to_dict(orient="index").items():
                value = "{:.4f}  ({:.4f} to {:.4f})".format(
                    *(line[f"miou{end}"] for end in ("", "_low", "_high"))
                )
                gain = ""
                if name != "model":
                    gain = "{:+.4f}  ({:+.4f} to {:+.4f})".format(
                        *(line[f"gain{end}"] for end in ("", "_low", "_high"))
                    )
                lines.append(
                    [str(name), value, *(f"{line[f'iou {each}']:.4f}" for each in self.classes), gain]
                )
            head = [
                "",
                "miou (95 % interval)",
                *(f"iou {each}" for each in self.classes),
                "gain of the model",
            ]
            tables.append((head, lines))
        return tables

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._heading()}, {self.main} {self.scores[self.main]:.4f})"


def confusions(truth: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    """Of each picture the known pixels by truth and prediction, i64[n, k, k]."""
    made = np.zeros((len(truth), classes * classes), np.int64)
    for place, (right, given) in enumerate(zip(truth, found, strict=True)):
        known = right != UNKNOWN
        index = right[known].astype(np.int64) * classes + given[known]
        made[place] = np.bincount(index, minlength=classes * classes)
    return made.reshape(-1, classes, classes)


def boundaries(truth: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    """Of each picture and class the boundary pixels, i64[n, k, 4]: found and near a true one, found, true and near one
    that is found, true. A boundary pixel has a neighbour of another class on one of its four sides; unknown pixels and
    those beside them are none."""
    high, wide = truth.shape[1:]
    reach = max(1, round(TOLERANCE * float(np.hypot(high, wide))))
    disc = np.hypot(*np.ogrid[-reach : reach + 1, -reach : reach + 1])[None] <= reach
    cross = ndimage.generate_binary_structure(2, 1)[None]
    made = np.zeros((len(truth), classes, 4), np.int64)
    known = ~ndimage.binary_dilation(truth == UNKNOWN, cross)
    for number in range(classes):
        edges = []
        for masks in (found, truth):
            here = masks == number
            inner = ndimage.binary_erosion(here, cross, border_value=1)
            edges.append(here & ~inner & known)
        mine, true = edges
        near_true, near_mine = (ndimage.binary_dilation(edge, disc) for edge in (true, mine))
        counts = (mine & near_true, mine, true & near_mine, true)
        made[:, number] = np.stack([each.sum((1, 2)) for each in counts], -1)
    return made


def _mean(each: np.ndarray) -> np.ndarray:
    """The mean over the classes of the last axis that have a score; NaN where none has."""
    there = np.isfinite(each)
    return np.where(there, each, 0).sum(-1) / np.where(there.any(-1), there.sum(-1), np.nan)


# --- baselines ------------------------------------------------------------------------------------------------------


class ColourTable:
    """The most frequent class of each colour in the training pictures: what can be known of a pixel by itself.

    Colours are rounded to 5 bits a channel; one that does not occur in training is rounded to 3 bits, and one that does
    not occur then has the most frequent class of all.

    Args:
        pictures: u8[n, height, width, c]. masks: u8[n, height, width].
        classes: how many there are.
    """

    BITS = (5, 3, 0)

    def __init__(self, pictures: np.ndarray, masks: np.ndarray, classes: int):
        self._tables: list[np.ndarray] = []
        for bits in self.BITS:
            size = 2 ** (bits * pictures.shape[-1])
            counts = np.zeros(size * classes, np.int64)
            for picture, mask in zip(pictures, masks, strict=True):
                known = mask != UNKNOWN
                place = _colour(picture, bits)[known] * classes + mask[known]
                counts += np.bincount(place, minlength=size * classes)
            counts = counts.reshape(size, classes)
            self._tables.append(np.where(counts.any(1), counts.argmax(1), -1).astype(np.int16))

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """The classes of pixels, u8[n, height, width]."""
        made = np.zeros(pictures.shape[:3], np.uint8)
        for place, picture in enumerate(pictures):
            found = np.full(picture.shape[:2], -1, np.int16)
            for bits, table in zip(self.BITS, self._tables, strict=True):
                found = np.where(found < 0, table[_colour(picture, bits)], found)
            made[place] = np.maximum(found, 0)
        return made


def _colour(picture: np.ndarray, bits: int) -> np.ndarray:
    """The number of the colour of each pixel, of ``bits`` a channel."""
    number = np.zeros(picture.shape[:2], np.int64)
    for channel in range(picture.shape[-1]):
        number = (number << bits) | (picture[..., channel].astype(np.int64) >> (8 - bits))
    return number


def segmentation_report(
    run: RunHandle, rows: Rows, split: str = "test", baselines: bool = True
) -> SegmentationReport:
    """The report of a run on a split of its rows, with the most frequent class, alone and by colour, beside it."""
    return report_of(pipeline_of(run, SegmentationPipeline), rows, split, baselines)


def report_of(
    pipeline: SegmentationPipeline, rows: Rows, split: str = "test", baselines: bool = True
) -> SegmentationReport:
    """The same of a pipeline. Raises :class:`DataError` where the masks of the rows have other classes."""
    if rows.schema.mask_classes != pipeline.classes:
        raise DataError(
            _("the masks of the rows have the classes {classes}; the model knows {known}."),
            classes=", ".join(rows.schema.mask_classes) or _("none"), known=", ".join(pipeline.classes),
        )  # fmt: skip
    part, classes = rows[split], pipeline.classes
    truth, numbered = masks_of(part), np.array(numbers(part, "row", np.int64))
    report = SegmentationReport(truth, pipeline.masks(part), numbered, classes, split=split)
    report.pictures = pictures = stack(part, rows.schema).inputs
    if not baselines:
        return report
    train = stack(rows["train"], rows.schema)
    masks, others = masks_of(rows["train"]), {}
    if pictures.dtype == np.uint8 and pictures.shape[-1] <= 3:
        others[COLOURS] = ColourTable(train.inputs, masks, len(classes))(pictures)
    usual = np.bincount(masks[masks != UNKNOWN], minlength=len(classes)).argmax()
    others[USUAL] = np.full(truth.shape, usual, np.uint8)
    made = {
        name: SegmentationReport(truth, each, numbered, classes, split=split) for name, each in others.items()
    }
    return report.with_baselines(made)
