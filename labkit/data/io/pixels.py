"""Pixel scaling: image files and arrays converted to the range of the training images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from labkit.core.config import Config, option
from labkit.core.errors import DataError
from labkit.data.io.media import decode
from labkit.data.precision import rounded_away
from labkit.i18n import _

if TYPE_CHECKING:
    import PIL.Image as PILImage

#: Greatest pixel of pictures with few grey levels, such as those of the sample "digits"; others have 256.
FEW = 16


@dataclass(frozen=True)
class Pixels(Config):
    """How the pixels of the training pictures are given; kept with the model."""

    whole: bool = option(True, "Pixels are bytes (uint8), not floats.")
    peak: float = option(255.0, "Maximum pixel value (white): 255 for bytes, 1 for floats, or another.")
    stretched: bool = option(False, "Stretch a small number of grey levels to the range 0 to 255.")

    @classmethod
    def fit(cls, pictures: np.ndarray) -> Self:
        """From the training pictures."""
        whole, peak = pictures.dtype == np.uint8, float(pictures.max(initial=1))
        few = whole and 0 < peak <= FEW
        return cls(whole, 255.0 if whole and not few else peak, few)

    def to_model(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels in the unit of the training pictures, as a model reads them: uint8 as x / 255, others as
        they are.

        Few grey levels, which would be near zero as shares of 255, are stretched over all bytes.
        """
        if not self.stretched:
            return pixels
        if pixels.dtype == np.uint8 and pixels.max(initial=0) <= self.peak:
            return np.rint(np.arange(self.peak + 1) * (255 / self.peak)).astype(np.uint8)[pixels]
        scale = self.peak if pixels.dtype == np.uint8 else self.peak / 255
        return (pixels / scale).astype(np.float32)

    def of_bytes(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels of a decoded file, from 0 to 255, in the unit of the training pictures."""
        scaled = pixels.astype(np.float64) * (self.peak / 255)
        return np.rint(scaled).astype(np.uint8) if self.whole else scaled.astype(np.float32)

    def of_array(self, given: np.ndarray) -> np.ndarray:
        """Pixels of an array in the unit of the training pictures, uint8 or float32. A model reads uint8 as x
        / 255.

        Raises:
            DataError: they are no numbers of a picture in that unit.
        """
        if given.dtype.kind not in "uif" or not given.size:
            return given
        low, high = float(given.min()), float(given.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError(_("the image contains missing or infinite values."))
        if not self.whole:
            if said := rounded_away(given):
                raise DataError(_("the image cannot be read: {said}."), said=said)
            shares = (
                self.peak <= 1
                and given.dtype.kind in "ui"
                and low >= 0
                and (given.dtype == np.uint8 or high > 1)
            )
            return given.astype(np.uint8 if shares and high <= 255 else np.float32)
        counts = given.dtype.kind in "ui" or (high > 1 and np.array_equal(given, np.rint(given)))
        if counts and low >= 0 and high <= 255:
            return given.astype(np.uint8)
        if low >= 0 and high <= 1:  # shares of white
            return np.float32(self.peak / 255) * given.astype(np.float32)
        raise DataError(
            _(
                "the image has values from {low:g} to {high:g}; the model was trained on bytes: give "
                "integers from 0 to 255, or floats from 0 to 1."),
            low=low, high=high,
        )  # fmt: skip

    def read(self, pictures: Sequence[Any], shape: tuple[int, ...]) -> np.ndarray:
        """Files (paths or their bytes) and Pillow images as arrays [n, height, width, channels] of ``shape``.

        Raises:
            DataError: one is missing or no picture; or the model reads no pictures of 1 or 3 channels.
        """
        if shape[-1] not in (1, 3):
            raise DataError(
                _("the model expects images with {channels} channels; give arrays of shape {shape}."),
                channels=shape[-1],
                shape=shape,
            )
        made = [self._read(number, picture, shape) for number, picture in enumerate(pictures)]
        return np.stack(made) if made else np.empty((0, *shape), np.uint8)

    def _read(self, number: int, picture: PILImage.Image, shape: tuple[int, ...]) -> np.ndarray:
        if picture is None or picture != picture:
            raise DataError(_("image {number} is missing."), number=number)
        if isinstance(picture, str | Path):
            path = Path(picture).expanduser()
            if not path.is_file():
                raise DataError(
                    _("image {picture!r} not found; the model expects image files or arrays."),
                    picture=str(picture),
                )
            name, data = repr(path.name), path.read_bytes()
        elif isinstance(picture, bytes | bytearray):
            name, data = f"picture {number}", bytes(picture)
        else:
            buffer = BytesIO()
            picture.save(buffer, "PNG")
            name, data = f"picture {number}", buffer.getvalue()
        try:
            return self.of_bytes(decode(data, (shape[0], shape[1]), shape[2] == 1))
        except DataError as error:
            raise DataError(_("{name} cannot be read: {error}."), name=name, error=error) from None


def png(pixels: np.ndarray) -> bytes:
    """A picture u8[height, width, 1 or 3] as a PNG file."""
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()
