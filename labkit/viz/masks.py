"""Masks drawn over pictures, with a legend of their classes."""

from __future__ import annotations

import colorsys
import io
from typing import TYPE_CHECKING

import numpy as np

from labkit.core import html
from labkit.core.html import Html
from labkit.core.text import escape, visible
from labkit.core.units import score
from labkit.data.masks import UNKNOWN, class_pixels
from labkit.data.rows import Rows
from labkit.evaluate.segmentation import SegmentationReport
from labkit.inference.segmenting import SegmentedPicture
from labkit.viz import charts, media
from labkit.viz.figure import PALETTE
from labkit.viz.svg import inline
from labkit.viz.words import word

if TYPE_CHECKING:
    from collections.abc import Sequence

#: How much of a pixel is the colour of its class; pixels of a drawn picture; worst pictures of an evaluation.
SHARE, SIZE, WORST = 0.5, 128, 6
#: Pictures whose pixels are counted, and classes that are drawn.
COUNTED, LISTED = 400, 20


def colours(count: int) -> np.ndarray:
    """A colour for each class, u8[count, 3]: those of the charts, then others by their hue."""
    known = [tuple(bytes.fromhex(each.removeprefix("#"))) for each in PALETTE]
    more = [
        tuple(round(255 * part) for part in colorsys.hsv_to_rgb(number * 0.618 % 1, 0.65, 0.85))
        for number in range(max(0, count - len(known)))
    ]
    return np.array([*known, *more][:count], np.uint8).reshape(count, 3)


def overlay(pixels: np.ndarray, mask: np.ndarray, classes: int) -> np.ndarray:
    """A picture u8[height, width, 1 or 3] tinted by the class of each pixel, u8[height, width, 3]; pixels of unknown
    class stay as they are."""
    grey = np.broadcast_to(pixels, (*pixels.shape[:2], 3)).astype(np.float32)
    tint = colours(classes)[np.minimum(mask, classes - 1)].astype(np.float32)
    mixed = (1 - SHARE) * grey + SHARE * tint
    return np.rint(np.where((mask == UNKNOWN)[..., None], grey, mixed)).astype(np.uint8)


def mask_png(mask: np.ndarray, classes: int) -> bytes:
    """A mask as a palette PNG: the value of a pixel is the number of its class, shown in its colour."""
    from PIL import Image

    made, buffer = Image.frombytes("P", mask.shape[::-1], np.ascontiguousarray(mask).tobytes()), io.BytesIO()
    made.putpalette(colours(classes).reshape(-1).tolist())
    made.save(buffer, "PNG")
    return buffer.getvalue()


def legend(classes: Sequence[str], shares: Sequence[str] | None = None) -> Html:
    """The colours of the classes with their names; with ``shares``, a text for each."""
    said = ["" if shares is None else f" {escape(each)}" for each in shares or [""] * len(classes)]
    parts = []
    for (red, green, blue), name, more in zip(colours(len(classes)).tolist(), classes, said, strict=True):
        square = (
            f'<span style="display:inline-block;width:0.9em;height:0.9em;border:1px solid currentColor;'
            f'background:rgb({red},{green},{blue})" aria-hidden="true"></span>'
        )
        parts.append(f"<span>{square} {escape(visible(name, 40))}{more}</span>")
    inside = " &nbsp; ".join(parts)
    return Html(f'<p class="lk-quiet">{inside}</p>')


def tiles(
    pictures: Sequence[np.ndarray],
    masks: np.ndarray,
    classes: Sequence[str],
    captions: Sequence[str],
    size: int = SIZE,
) -> Html:
    """Pictures with their masks over them, each with a caption, and a legend."""
    drawn = [
        (overlay(pixels, mask, len(classes)), caption)
        for pixels, mask, caption in zip(pictures, masks, captions, strict=True)
    ]
    return html.joined(legend(classes), media.gallery(drawn, size))


def segmented(found: SegmentedPicture, language: str, truth: np.ndarray | None = None) -> Html:
    """A picture, its predicted mask over it, where the model is unsure and, where it is known, the true mask."""
    unsure = np.rint(255 * (1 - found.probability))[..., None].astype(np.uint8)
    pictures = [
        (found.pixels, word("picture", language)),
        (overlay(found.pixels, found.mask, len(found.classes)), word("answer", language)),
        (unsure, word("unsure_pixels", language)),
    ]
    if truth is not None:
        pictures.append((overlay(found.pixels, truth, len(found.classes)), word("truth", language)))
    shares = [f"{share:.1%}" for share in found.shares.values()]
    return html.joined(media.gallery(pictures, 2 * SIZE), legend(found.classes, shares))


def report(found: SegmentationReport, language: str) -> Html:
    """The scores with intervals, and the worst pictures: prediction beside truth."""
    cards = []
    for name in ("miou", *(f"iou {each}" for each in found.classes), "accuracy", "boundary_f1"):
        low, high = found.intervals[name]
        title = name if name.startswith("iou ") else word(f"score_{name}_pixels", language)
        title = f"IoU {visible(title[4:], 40)}" if name.startswith("iou ") else title
        cards.append((f"{title} ({score(low, name)} – {score(high, name)})", score(found.scores[name], name)))
    about = word("segment_intervals", language, pictures=f"{len(found.rows):,}")
    pictures = [] if found.pictures is None else found.pictures
    places = np.argsort(found.per_picture["accuracy"].to_numpy(), kind="stable")[: min(WORST, len(pictures))]
    drawn = []
    for place in places.tolist():
        pixels, row = np.asarray(pictures[place], np.uint8), int(found.rows[place])
        accuracy = f"{found.per_picture['accuracy'][place]:.0%}"
        drawn += [
            (pixels, word("picture_row", language, row=row)),
            (
                overlay(pixels, found.found[place], len(found.classes)),
                f"{word('answer', language)} · {accuracy}",
            ),
            (overlay(pixels, found.truth[place], len(found.classes)), word("truth", language)),
        ]
    table = found.confusion
    head = [word("truth_by_answer", language), *map(str, table.columns)]
    lines = [
        [str(name), *(f"{value:,}" for value in line)]
        for name, line in zip(table.index, table.to_numpy(), strict=True)
    ]
    return html.joined(
        html.cards(cards), html.paragraph(about, "quiet"), html.heading(word("worst_pictures", language), 4),
        legend(found.classes), media.gallery(drawn, SIZE),
        html.details(word("pixels_by_class", language), html.table(head, lines, numeric=range(1, len(head)))),
    )  # fmt: skip


def of_rows(rows: Rows, language: str) -> Html:
    """The share of the pixels of each class in some training pictures."""
    split = "train" if "train" in rows.splits else next(iter(rows.splits))
    part, classes = rows[split], rows.schema.mask_classes
    some = part.select(np.unique(np.linspace(0, len(part) - 1, COUNTED).round().astype(np.int64)))
    counts = class_pixels(some, len(classes))
    total = max(int(counts.sum()), 1)
    order = np.argsort(-counts, kind="stable")[:LISTED]
    bars = [(classes[number], int(counts[number])) for number in order]
    shares = [f"{counts[number] / total:.2%}" for number in order]
    title = word("pixels_in", language, pictures=f"{len(some):,}")
    return html.joined(html.heading(title, 4), inline(charts.bars(bars, title, shares)))
