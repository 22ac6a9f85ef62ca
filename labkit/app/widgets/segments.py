"""Segmentation in the step Predict: a picture from a file or from the rows, with its mask over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import ipywidgets as widgets
import numpy as np

from labkit.app.widgets.answers import LONGEST, Asking
from labkit.app.widgets.download import Download
from labkit.core import source_code
from labkit.core.errors import DataError
from labkit.core.html import Html
from labkit.data.masks import has_masks, masks_of
from labkit.i18n import _
from labkit.inference.segmenting import SegmentationPipeline, SegmentedPicture
from labkit.viz import masks

if TYPE_CHECKING:
    from datasets import Dataset


class PictureInput(NamedTuple):
    """A path, or the pixels of a row with its mask."""

    path: str
    pixels: Any = None
    mask: Any = None


class SegmentForm(Asking):
    """A model finds the class of every pixel of a picture."""

    verb = "segment_on"
    tool: SegmentationPipeline

    def build(self) -> Sequence[widgets.Widget]:
        self.upload = widgets.FileUpload(
            accept="image/*", multiple=False, description=self.word("choose_picture")
        )
        self.path = widgets.Text(
            description=self.word("path"), placeholder="picture.png", continuous_update=False
        )
        self.link = Download(label=self.word("download_mask"))
        self.taken: PictureInput | None = None
        return self.upload, self.path, self.link

    def take(self, part: Dataset, place: int) -> None:
        """A picture of the rows, whose mask is known."""
        one = part.select([place])
        pixels = np.asarray(self.tool.processor.raw(one).inputs[0])
        self.taken = PictureInput("", pixels, masks_of(one)[0] if has_masks(one) else None)

    def asked(self) -> PictureInput:
        taken, self.taken = self.taken, None
        if taken is not None:
            return taken
        if self.upload.value:
            content = bytes(self.upload.value[0]["content"])
            self.upload.value = ()
            return PictureInput("", content)
        if path := self.path.value.strip()[:LONGEST]:
            return PictureInput(path)
        raise DataError(_("choose a picture, or give the path of one."))

    def answer(self, asked: tuple[Any, ...]) -> SegmentedPicture:
        path, pixels, _mask = asked
        return self.tool.segment([path if path else pixels])[0]

    def shown(self, asked: tuple[Any, ...], found: SegmentedPicture) -> Html:
        self.link.offer(lambda: masks.mask_png(found.mask, len(found.classes)), "mask.png")
        return masks.segmented(found, self.language, asked[2])

    def code(self, asked: tuple[Any, ...]) -> list[str]:
        if asked[0]:
            return [source_code.line(source_code.call("run.segment", asked[0]))]
        return ["", "# x: a picture as an array or a Pillow image", "run.segment(x)"]
