"""Semantic segmentation: the class of every pixel of new pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from labkit.core.errors import DataError
from labkit.i18n import _
from labkit.inference.pipeline import Pipeline
from labkit.tasks.segment import Segment, Segmentation
from labkit.train.processors import ImageProcessor

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, eq=False)
class SegmentedPicture:
    """A picture with a class for every pixel.

    Attributes:
        pixels: the picture as the model has read it, u8[height, width, channels].
        mask: u8[height, width], numbers of classes.
        probability: f32[height, width], that of the class of each pixel.
        classes: names of the classes.
    """

    pixels: np.ndarray
    mask: np.ndarray
    probability: np.ndarray
    classes: tuple[str, ...]

    @property
    def shares(self) -> dict[str, float]:
        """Class → share of the pixels."""
        counts = np.bincount(self.mask.reshape(-1), minlength=len(self.classes))
        return {name: float(count) / self.mask.size for name, count in zip(self.classes, counts, strict=True)}

    def __repr__(self) -> str:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in self.shares.items())
        return f"<{type(self).__name__} {self.mask.shape[0]} x {self.mask.shape[1]}: {shares}>"


class SegmentationPipeline(Pipeline):
    """A model of the task "segment" that a run has written or exported.

    Attributes:
        classes: names of the classes, in the order of their numbers in masks.
        shape: (height, width, channels) of the pictures that it reads.
    """

    task = Segment
    head: Segmentation
    processor: ImageProcessor

    def __init__(self, *given: Any, **settings: Any):
        super().__init__(*given, **settings)

        def likeliest(module: Any, batch: dict[str, Any]) -> tuple[jax.Array, jax.Array]:
            chances = self.head.probabilities(module, batch)
            return jnp.argmax(chances, -1).astype(jnp.uint8), jnp.max(chances, -1)

        self._answer = self.compiled(likeliest)
        assert self.processor.shape is not None, "a trained model has it"
        self.classes, self.shape = self.head.classes, self.processor.shape

    def __repr__(self) -> str:
        high, wide = self.shape[:2]
        return f"<{type(self).__name__}: {high} x {wide} pixels, {', '.join(self.classes)}>"

    def _used(self, module: Any) -> Any:
        return module

    def segment(self, pictures: Any) -> Any:
        """The class of every pixel of pictures: a list of :class:`SegmentedPicture`; for a single picture it alone.

        Args:
            pictures: a file, a Pillow image or an array [height, width(, channels)]; or several: a list of them, or an
                array with one more axis. Files and images are brought to the size of the training pictures: scaled, and
                cut from the middle.

        Raises:
            DataError: a picture cannot be read, or arrays have another shape than the model reads.
        """
        alone = isinstance(pictures, str | Path) or not isinstance(pictures, list | tuple | np.ndarray)
        if isinstance(pictures, np.ndarray):
            alone = pictures.ndim == len(self.shape) or (pictures.ndim == 2 and self.shape[-1] == 1)
        given = [pictures] if alone else pictures
        if not len(given):
            return []
        batches = self.processor.to_predict(
            np.stack(given) if alone and isinstance(pictures, np.ndarray) else given
        )
        found = self._segment(batches)
        return found[0] if alone else found

    __call__ = segment

    def masks(self, dataset: Dataset) -> np.ndarray:
        """The classes of the pixels of a split of rows, u8[n, height, width]."""
        inputs = self.processor.raw(dataset).inputs
        masks = np.zeros(inputs.shape[:3], np.uint8)
        for index, (mask, chance) in self._results(self._answer, self.processor.to_predict(inputs)):
            if not np.isfinite(chance).all():
                raise DataError(_("some scores are not finite: training diverged."))
            masks[index] = mask
        return masks

    def _segment(self, batches: Any) -> list[SegmentedPicture]:
        found: dict[int, SegmentedPicture] = {}
        for batch in batches:
            for index, (masks, chances) in self._results(self._answer, [batch]):
                for place, mask, chance in zip(index.tolist(), masks, chances, strict=True):
                    row = int(np.flatnonzero(batch["index"] == place)[0])
                    found[place] = SegmentedPicture(
                        _as_bytes(batch["inputs"][row]), mask, chance, self.classes
                    )
        return [found[place] for place in sorted(found)]


def _as_bytes(pixels: np.ndarray) -> np.ndarray:
    """Pixels as a model reads them, as bytes for a picture."""
    if pixels.dtype == np.uint8:
        return pixels
    low, high = float(pixels.min()), float(pixels.max())
    low, high = min(low, 0.0), max(high, 1.0)
    return np.rint((pixels - low) * (255 / (high - low))).astype(np.uint8)
