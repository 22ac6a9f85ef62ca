"""Preview of image augmentation: pictures as training changes them, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from labkit.core import html
from labkit.core.config import checked_seed
from labkit.core.errors import ConfigError, DataError, nearest
from labkit.core.html import Html
from labkit.data.arrow import numbers
from labkit.data.batching.arrays import stack
from labkit.data.io.load import load
from labkit.data.io.pixels import Pixels
from labkit.data.masks import UNKNOWN, masks_of
from labkit.data.rows import Rows
from labkit.i18n import _
from labkit.tasks.augment import KINDS, augment_masked
from labkit.viz import masks as drawn
from labkit.viz import media
from labkit.viz.words import word

if TYPE_CHECKING:
    from labkit.data.io.load import RowSource

#: Screen pixels of a drawn picture.
SIZE = 72


@dataclass(frozen=True, eq=False)
class AugmentedPictures:
    """Pictures and what training may make of them; a notebook shows them as a grid.

    Attributes:
        augment: the setting of the task.
        pictures: [n, 1 + versions, height, width, channels]: each picture as it is, then changed at random.
        masks: u8[n, 1 + versions, height, width] of pictures with masks, else None.
        rows: row numbers i64[n].
        classes: names of the classes of masks.
    """

    augment: str
    pictures: np.ndarray
    masks: np.ndarray | None
    rows: np.ndarray
    classes: tuple[str, ...] = ()

    def html(self, language: str = "en") -> Html:
        """The grid: a line for each picture, the unchanged one first."""
        lines = []
        for place, row in enumerate(self.rows.tolist()):
            shown = []
            for version, pixels in enumerate(self.pictures[place]):
                if self.masks is not None:
                    pixels = drawn.overlay(pixels, self.masks[place, version], len(self.classes))
                title = (
                    word("picture_row", language, row=row) if version == 0 else f"{self.augment} {version}"
                )
                shown.append(media.picture(pixels, title, SIZE))
            lines.append(shown)
        legend = drawn.legend(self.classes) if self.masks is not None else Html("")
        versions = self.pictures.shape[1] - 1
        head = [word("augmented_original", language), *(str(n + 1) for n in range(versions))]
        return html.joined(legend, html.table(head, lines))

    def _repr_html_(self) -> str:
        return self.html()

    def __repr__(self) -> str:
        count, versions = self.pictures.shape[:2]
        return (
            f"<{type(self).__name__}: {count} pictures, {versions - 1} versions of each by {self.augment!r}>"
        )


def preview_augmentation(
    rows: RowSource, augment: str = "shift-flip", *, count: int = 4, versions: int = 6, seed: int = 0
) -> AugmentedPictures:
    """Pictures of ``rows`` as training with ``augment`` changes them, by the same function.

    Args:
        rows: pictures, also with masks, which are changed alike; see :func:`labkit.load`.
        augment: the setting of the task: "shift", "flip" or "shift-flip".
        count: number of pictures, evenly spaced over the training rows.
        versions: how often each is changed.
        seed: of the changes.

    Raises:
        ConfigError: an unknown ``augment``.
        DataError: the rows are no pictures.
    """
    if augment not in KINDS:
        raise ConfigError(
            _("augment = {augment!r} is not one of {known}.{hint}"),
            augment=augment, known=", ".join(KINDS), hint=nearest(augment, KINDS),
        )  # fmt: skip
    if count < 1 or versions < 1:
        raise ConfigError(
            _("count = {count} and versions = {versions} must be at least 1."), count=count, versions=versions
        )
    rows = rows if isinstance(rows, Rows) else load(rows)
    if rows.schema.modality != "image":
        raise DataError(_("augmentation is of pictures; the rows are {kind}."), kind=rows.schema.modality)
    part = rows["train"] if "train" in rows.splits else next(iter(rows.splits.values()))
    some = part.select(np.unique(np.linspace(0, len(part) - 1, count).round().astype(np.int64)))
    inputs = stack(some, rows.schema).inputs
    inputs = Pixels.fit(inputs).to_model(inputs)
    known = bool(rows.schema.mask_classes)
    masks = masks_of(some) if known else np.full(inputs.shape[:3], UNKNOWN, np.uint8)
    pictures, moved = [inputs], [masks]
    for key in jax.random.split(jax.random.key(checked_seed(seed)), versions):
        changed = jnp.asarray(inputs), jnp.asarray(masks)
        if augment != "none":
            changed = augment_masked(*changed, augment, key)
        for made, each in zip((pictures, moved), changed, strict=True):
            made.append(np.asarray(each))
    return AugmentedPictures(
        augment, np.stack(pictures, 1), np.stack(moved, 1).astype(np.uint8) if known else None,
        np.array(numbers(some, "row", np.int64)), rows.schema.mask_classes,
    )  # fmt: skip
