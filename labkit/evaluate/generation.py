"""Evaluation of generated pictures: Fréchet distance, precision and recall in the vectors of a classifier, beside a
Gaussian of each class and real pictures.

Scores of generated pictures depend on the vectors and on the number of pictures: compare only those of the same
classifier and split.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from scipy.spatial.distance import cdist

from labkit.core.config import checked_seed
from labkit.core.errors import DataError
from labkit.data.batching.arrays import Arrays
from labkit.data.io.pixels import Pixels
from labkit.data.rows import Rows
from labkit.evaluate.compared_report import ComparedReport
from labkit.evaluate.intervals import Interval, finite_percentiles
from labkit.evaluate.shown import SCORED, Table
from labkit.i18n import _
from labkit.inference.image_generation import ImageGenerationPipeline
from labkit.inference.predictor import Predictor
from labkit.train.processors import ImageProcessor

if TYPE_CHECKING:
    import pandas as pd

RESAMPLES = 200
#: Neighbours of precision and recall; pictures that are compared at most; components of the Gaussian baseline.
NEIGHBOURS, MOST, COMPONENTS = 3, 2000, 64
#: Generated pictures that are shown beside the nearest training pictures.
SHOWN = 16
GAUSSIAN, REAL = _("Gaussian of each class"), _("other real pictures")


@dataclass(frozen=True, eq=False)
class Described:
    """Pictures by the vectors of a classifier.

    Attributes:
        vectors: f64[n, d]. correct: bool[n], whether the classifier gives the class that they are to show; None where
            there are no classes.
    """

    vectors: np.ndarray
    correct: np.ndarray | None


class GenerationReport(ComparedReport):
    """Generated pictures beside the real ones of a split.

    Args:
        real, made: vectors of real and of generated pictures, f64[n, d].
        nearest: f64[n, 2], distance in pixels from each generated picture to the nearest training picture, and that of
            each real one.

    Scores: ``fd``, the Fréchet distance of Gaussians of the vectors (Heusel et al. 2017, arXiv 1706.08500, there of
    Inception); ``precision``, the share of generated pictures among the nearest neighbours of real ones, and
    ``recall``, the reverse (Kynkäänniemi et al. 2019, arXiv 1904.06991); ``accuracy``, how often the classifier finds
    the class of the condition; ``nearest_ratio``, the median distance to the nearest training picture ÷ that of real
    pictures of the split: far below 1, pictures are copies. Intervals resample real and generated pictures;
    those of precision and recall keep the neighbourhoods of all pictures, and so are somewhat narrow.
    """

    main: ClassVar[str] = "fd"
    better: ClassVar[int] = -1

    def __init__(
        self, real: Described, made: Described, nearest: np.ndarray, *, split: str = "test", seed: int = 0,
    ):  # fmt: skip
        if len(real.vectors) != len(made.vectors) or len(made.vectors) != len(nearest):
            raise DataError(
                _("{made} generated and {real} real pictures: give as many of both."),
                made=len(made.vectors), real=len(real.vectors),
            )  # fmt: skip
        if len(real.vectors) < 2:
            raise DataError(
                _("a Fréchet distance needs at least 2 pictures; there are {n}."), n=len(real.vectors)
            )
        self.real, self.made, self.nearest = real, made, np.asarray(nearest, np.float64)
        self.split, self.seed = split, checked_seed(seed)
        self.baselines: dict[str, Self] = {}
        self.pictures: np.ndarray | None = (
            None  # u8[16, 2, …]: the first, beside the nearest training pictures
        )

    @cached_property
    def _inside(self) -> tuple[np.ndarray, np.ndarray]:
        """Whether each generated picture is within the real ones, and each real one within the generated."""
        return inside(self.made.vectors, self.real.vectors), inside(self.real.vectors, self.made.vectors)

    def _scored(self, real: np.ndarray, made: np.ndarray) -> dict[str, float]:
        """The scores of some of the pictures, by their places."""
        precise, covered = self._inside
        scores = {
            "fd": frechet_distance(self.real.vectors[real], self.made.vectors[made]),
            "precision": float(precise[made].mean()), "recall": float(covered[real].mean()),
        }  # fmt: skip
        if self.made.correct is not None:
            scores["accuracy"] = float(self.made.correct[made].mean())
        ours, theirs = np.median(self.nearest[made, 0]), np.median(self.nearest[real, 1])
        scores["nearest_ratio"] = float(ours / theirs) if theirs > 0 else float("nan")
        return scores

    @cached_property
    def scores(self) -> dict[str, float]:
        """Every score by name."""
        every = np.arange(len(self.nearest))
        return self._scored(every, every)

    @cached_property
    def _draws(self) -> dict[str, np.ndarray]:
        random, count = np.random.default_rng(self.seed), len(self.nearest)
        drawn = [self._scored(*random.integers(count, size=(2, count))) for _draw in range(RESAMPLES)]
        return {name: np.array([each[name] for each in drawn]) for name in drawn[0]}

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """95 % bootstrap intervals of every score. That of ``fd`` lies above it in part: fewer distinct pictures have
        larger distances."""
        return {name: finite_percentiles(each) for name, each in self._draws.items()}

    def _has_rows_of(self, other: Self) -> bool:
        return np.array_equal(self.real.vectors, other.real.vectors)

    def _heading(self) -> str:
        return f"{self.split}: {len(self.nearest):,} generated pictures beside as many real ones"

    def _tables(self) -> list[Table]:
        scored = [
            [name, f"{value:.4f}", "{:.4f} to {:.4f}".format(*self.intervals[name])]
            for name, value in self.scores.items()
        ]
        tables: list[Table] = [(SCORED, scored)]
        if self.baselines:
            head = ["", *self.scores]
            lines = [["model", *(f"{value:.4f}" for value in self.scores.values())]]
            for name, each in self.baselines.items():
                lines.append(
                    [str(name), *(f"{each.scores.get(score, float('nan')):.4f}" for score in self.scores)]
                )
            tables.append((head, lines))
        return tables

    def predictions(self) -> pd.DataFrame:
        """Of every generated picture whether it is within the real ones, whether the classifier finds its class, and
        its distance to the nearest training picture."""
        import pandas as pd

        columns = {"realistic": self._inside[0], "distance": self.nearest[:, 0]}
        if self.made.correct is not None:
            columns["correct"] = self.made.correct
        return pd.DataFrame(columns)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._heading()}, fd {self.scores['fd']:.4f})"


def frechet_distance(one: np.ndarray, two: np.ndarray) -> float:
    """|μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½) of vectors f64[n, d] (Dowson & Landau 1982). The trace of the root is that
    of the symmetric (Σ₁^½ Σ₂ Σ₁^½)^½, by eigenvalues."""
    means = [each.mean(0) for each in (one, two)]
    spreads = [np.cov(each, rowvar=False).reshape(each.shape[1], -1) for each in (one, two)]
    values, axes = np.linalg.eigh(spreads[0])
    root = (axes * np.sqrt(np.maximum(values, 0))) @ axes.T
    common = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ spreads[1] @ root), 0)).sum()
    found = ((means[0] - means[1]) ** 2).sum() + np.trace(spreads[0]) + np.trace(spreads[1]) - 2 * common
    return max(0.0, float(found))


def inside(points: np.ndarray, others: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Whether each point [n, d] is within the union of balls about the others [m, d], each as large as the distance to
    its nearest ``neighbours``; bool[n]."""
    count = min(neighbours, len(others) - 1)
    radius = np.partition(cdist(others, others), count, axis=1)[:, count]
    return np.any(cdist(points, others) <= radius, axis=1)


def distances(pictures: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The root mean squared distance in bytes from each picture to the nearest training picture, f64[n], and which
    that is, i64[n]."""
    flat, known = (each.reshape(len(each), -1).astype(np.float32) for each in (pictures, train))
    squares = (known**2).sum(1)
    place, found = np.zeros(len(flat), np.int64), np.zeros(len(flat))
    for start in range(0, len(flat), 256):
        part = flat[start : start + 256]
        apart = (part**2).sum(1)[:, None] + squares - 2 * part @ known.T
        place[start : start + 256] = apart.argmin(1)
        found[start : start + 256] = np.maximum(apart.min(1), 0)
    return np.sqrt(found / flat.shape[1]), place


def gaussian_pictures(
    train: np.ndarray, labels: np.ndarray, wanted: np.ndarray, seed: int = 0, components: int = COMPONENTS
) -> np.ndarray:
    """Pictures u8[n, …] drawn from a Gaussian of each class in the first principal components of the training pictures
    u8[m, …]; ``labels`` i32[m] and ``wanted`` i32[n] are numbers of classes."""
    from sklearn.utils.extmath import randomized_svd

    flat = train.reshape(len(train), -1).astype(np.float64)
    middle, count = flat.mean(0), min(components, *flat.shape)
    axes = randomized_svd(flat - middle, count, random_state=seed)[2]
    short, random = (flat - middle) @ axes.T, np.random.default_rng(seed)
    made = np.zeros((len(wanted), count))
    for label in np.unique(wanted):
        mine, places = short[labels == label], np.flatnonzero(wanted == label)
        spread = (
            np.cov(mine, rowvar=False).reshape(count, count) if len(mine) > 1 else np.zeros((count, count))
        )
        values, vectors = np.linalg.eigh(spread)
        noise = random.normal(size=(len(places), count)) * np.sqrt(np.maximum(values, 0))
        made[places] = mine.mean(0) + noise @ vectors.T
    pixels = np.rint(np.clip(middle + made @ axes, 0, 255)).astype(np.uint8)
    return pixels.reshape(len(wanted), *train.shape[1:])


class Describer:
    """Describes pictures by the vectors that the last layer of a classifier reads, and by its answers.

    Raises:
        DataError: the classifier reads pictures of another shape, or knows other classes.
    """

    def __init__(self, classifier: Predictor, shape: tuple[int, ...], classes: tuple[str, ...]):
        if not isinstance(classifier.processor, ImageProcessor) or classifier.processor.shape != tuple(shape):
            raise DataError(
                _("the classifier reads pictures of shape {found}; the model makes {shape}."),
                found=classifier.processor.shape, shape=tuple(shape),
            )  # fmt: skip
        if classes and tuple(classifier.classes) != classes:
            raise DataError(
                _("the classifier knows {found}; the model was trained with {classes}."),
                found=", ".join(classifier.classes), classes=", ".join(classes),
            )  # fmt: skip
        self.classifier, self.pixels = classifier, classifier.processor.pixels or Pixels()

    def __call__(self, pictures: np.ndarray, wanted: np.ndarray | None) -> Described:
        """Pictures as bytes u8[n, height, width, c]; ``wanted`` i32[n]: numbers of the classes that they are to
        show."""
        given = self.pixels.of_bytes(pictures)
        vectors = self.classifier.image_vectors(given).astype(np.float64)
        correct = None if wanted is None else self.classifier.probabilities(given).argmax(-1) == wanted
        return Described(vectors, correct)


def generation_report(
    pipeline: ImageGenerationPipeline, rows: Rows, classifier: Predictor, split: str = "test", *,
    baselines: bool = True, count: int = MOST, guidance: float | None = None, steps: int = 25, seed: int = 0,
) -> GenerationReport:  # fmt: skip
    """Generate as many pictures as a split has, of its classes, and compare them with it.

    Args:
        pipeline: the model.
        rows: that it was trained on.
        classifier: of pictures of the same shape and, where the model has classes, the same classes; better trained on
            the same rows.
        split: of the real pictures.
        baselines: whether a Gaussian of each class and, where the split has enough, other real pictures of it, the
            floor, are shown beside it.
        count: pictures at most.
        guidance, steps, seed: see :meth:`~labkit.inference.image_generation.ImageGenerationPipeline.generate`.

    Raises:
        DataError: the classifier or the rows do not fit, or there are too few pictures.
    """
    classes, shape = pipeline.classes, pipeline.shape
    describe = Describer(classifier, shape, classes)
    real, train = (_as_bytes(pipeline, rows, name) for name in (split, "train"))
    order = np.random.default_rng(seed).permutation(len(real))
    real, others_real = (
        Arrays(real.inputs[some], real.label[some], real.row[some])
        for some in (order[:count], order[count : 2 * count])
    )
    wanted = real.label if classes else None
    labels = None if wanted is None else [classes[number] for number in wanted]
    made = pipeline.generate(len(real), labels, steps=steps, guidance=guidance, seed=seed).pixels
    of_real, own = describe(real.inputs, wanted), distances(real.inputs, train.inputs)[0]

    def compared(pictures: np.ndarray, asked: np.ndarray | None = wanted) -> GenerationReport:
        apart, place = distances(pictures, train.inputs)
        nearest = np.stack([apart, own], 1)
        found = GenerationReport(of_real, describe(pictures, asked), nearest, split=split, seed=seed)
        found.pictures = np.stack([pictures[:SHOWN], train.inputs[place[:SHOWN]]], 1)
        return found

    report = compared(made)
    if not baselines:
        return report
    nothing = np.zeros(max(len(train), len(real)), np.int32)
    numbers, asked = (
        (train.label, wanted) if wanted is not None else (nothing[: len(train)], nothing[: len(real)])
    )
    others: dict[Any, Any] = {GAUSSIAN: compared(gaussian_pictures(train.inputs, numbers, asked, seed))}
    if len(others_real) == len(real):
        others[REAL] = compared(others_real.inputs, None if wanted is None else others_real.label)
    return report.with_baselines(others)


def _as_bytes(pipeline: ImageGenerationPipeline, rows: Rows, split: str) -> Arrays:
    """The pictures of a split as bytes 0 … 255, as the model generates them."""
    if not len(rows.splits.get(split, ())):
        raise DataError(
            _("the run has no split {split!r}; it has {splits}."), split=split, splits=", ".join(rows.splits)
        )
    found = pipeline.processor.raw(rows[split])
    inputs = (pipeline.processor.pixels or Pixels()).to_model(found.inputs)
    if inputs.dtype != np.uint8:
        inputs = np.rint(np.clip(inputs, 0, 1) * 255).astype(np.uint8)
    return Arrays(inputs, found.label, found.row)
