"""Images and sounds from files, resized to one shape; damaged files are rejected by row."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from labkit.core.cache import fingerprint, sha256_file
from labkit.core.errors import ConfigError, DataError
from labkit.data.io.arrow_cache import ROW, Part, Reading, cached
from labkit.data.io.audio import RATE, read_wav
from labkit.data.masks import COLOUR, MASK, mask_column
from labkit.i18n import _

if TYPE_CHECKING:
    import PIL.Image as PILImage

PICTURES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".webp", ".tif", ".tiff")
SOUNDS = (".wav",)
#: Pixels of a file at most: a small file can hold more than any memory.
MOST_PIXELS = 50_000_000
#: Sides that pictures of several sizes are brought to, unless ``size`` says which: at most.
LARGEST = 128
#: Seconds of a sound that are kept, unless ``seconds`` says how many: at most.
LONGEST = 10.0
#: The same of sounds with transcripts, of which none may be cut.
LONGEST_SPEECH = 30.0
_PORTION = 64  # files decoded at a time


@dataclass(frozen=True)
class Shape:
    """What the files of a folder are brought to.

    ``size``: (height, width) of pictures, ``grey``: without colours; ``masks``: name of the folder of their masks;
    ``seconds``: length of sounds, and ``rate``: their samples a second; ``transcribed``: they have transcripts, so that
    none may be cut. What is None is found out.
    """

    size: tuple[int, int] | None = None
    grey: bool | None = None
    masks: str | None = None
    seconds: float | None = None
    rate: int = RATE
    transcribed: bool = False


def shape_of(
    size: int | Sequence[int] | None = None,
    seconds: float | None = None,
    rate: int | None = None,
    masks: str | None = None,
    transcribed: bool = False,
) -> Shape:
    """The arguments of ``load``, checked. Raises :class:`ConfigError`."""
    sides = (size, size) if isinstance(size, int) else size
    both = None if sides is None else tuple(sides)
    if both is not None and (
        len(both) != 2 or not all(isinstance(side, int) and 1 <= side <= 4096 for side in both)
    ):
        raise ConfigError(
            _("size = {size!r} must be a number of pixels from 1 to 4096, or (height, width)."), size=size
        )
    if seconds is not None and not 0 < seconds <= 600:
        raise ConfigError(_("seconds = {seconds!r} must be above 0 and at most 600."), seconds=seconds)
    if rate is not None and not 1000 <= rate <= 192_000:
        raise ConfigError(_("rate = {rate!r} must be from 1,000 to 192,000 Hz."), rate=rate)
    return Shape(both, None, masks, seconds, rate or RATE, transcribed)


def medium_of(files: Sequence[Path]) -> str:
    """ "image" or "audio", by the endings. Raises :class:`DataError` where there are both."""
    kinds = {"image" if path.suffix.lower() in PICTURES else "audio" for path in files}
    if len(kinds) > 1:
        raise DataError(_("the folder contains both images and sounds; use a separate folder for each."))
    return kinds.pop()


def settled(files: Sequence[Path], shape: Shape) -> Shape:
    """``shape`` with what these files say of it; they are looked at, pictures by their heads alone."""
    if medium_of(files) == "audio":
        return shape if shape.seconds else replace(shape, seconds=_usual_length(files, shape))
    sizes, grey = Counter[tuple[int, int]](), True
    for path in files:
        if (seen := _looked_at(path)) is not None:
            sizes[seen[0]] += 1
            grey = grey and seen[1]
    return replace(
        shape, size=shape.size or _common_size(sizes), grey=grey if shape.grey is None else shape.grey
    )


def read_media(files: Sequence[Path], shape: Shape, about: pa.Table, source: Sequence[str]) -> Part:
    """Files brought to a settled ``shape``: pictures (column ``image``, uint8 [height, width, 1 or 3]) or
    sounds (column ``sound``, int16 [samples]).

    Args:
        files: all pictures or all sounds.
        shape: what they are brought to.
        about: the other columns, a row for each file, with :data:`ROW`.
        source: names of the files in messages.

    Raises:
        DataError: none of the files can be read.
    """
    key = ["pictures and sounds", repr(shape), fingerprint(_bytes(about), *map(sha256_file, files))]
    reader = _pictures if medium_of(files) == "image" else _sounds
    return cached(key, lambda reading: reader(_Files(files, source, about, reading), shape))


def read_masked(
    files: Sequence[Path], masks: Sequence[Path], shape: Shape, about: pa.Table, source: Sequence[str]
) -> Part:
    """Pictures with their masks, brought to a settled ``shape``: columns ``image``, uint8 [height, width, 1 or 3], and
    ``mask``, the raw values int32 [height, width] (:mod:`labkit.data.masks`).

    Args:
        files, masks: a mask for each picture.
        shape, about, source: see :func:`read_media`.

    Raises:
        DataError: none of the files can be read.
    """
    hashes = map(sha256_file, (*files, *masks))
    key = ["pictures with masks", repr(shape), fingerprint(_bytes(about), *hashes)]
    return cached(key, lambda reading: _with_masks(_Files(files, source, about, reading), masks, shape))


def _bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()


@dataclass
class _Files:
    """Files to decode, with their metadata."""

    paths: Sequence[Path]
    names: Sequence[str]
    about: pa.Table
    reading: Reading

    def __post_init__(self) -> None:
        self.rows: list[int] = self.about.column(ROW).to_pylist()

    def note(self, action: str, reason: str, number: int, detail: str = "") -> None:
        detail = f"{self.names[number]}: {detail}" if detail else self.names[number]
        self.reading.report.add(action, reason, [self.rows[number]], column="file", detail=detail)

    def tables(
        self, column: str, shape: tuple[int, ...], values: Callable[[int], np.ndarray | None]
    ) -> Iterator[pa.Table]:
        """Tables of the files that ``values`` could decode, a portion at a time."""
        from datasets import Array3D, Features, List, Value

        kind: Any = Array3D(shape, "uint8") if column == "image" else List(Value("int16"), length=shape[0])
        features = Features({column: kind, **Features.from_arrow_schema(self.about.schema)})
        schema, found = features.arrow_schema, 0
        for start in range(0, len(self.paths), _PORTION):
            some = [
                (number, values(number)) for number in range(start, min(start + _PORTION, len(self.paths)))
            ]
            kept = [(number, array) for number, array in some if array is not None]
            self.reading.records = start + len(some)
            if not kept:
                continue
            found += len(kept)
            flat = np.stack([array for _, array in kept])
            made: pa.Array = pa.array(flat.reshape(-1))
            if column == "image":
                for length in reversed(shape):
                    ends = np.arange(0, len(made) + 1, length, dtype=np.int32)
                    made = pa.ListArray.from_arrays(pa.array(ends), made)
                made = pa.ExtensionArray.from_storage(schema.field(column).type, made)
            else:
                made = pa.FixedSizeListArray.from_arrays(made, shape[0])
            others = self.about.take(pa.array([number for number, _ in kept]))
            yield pa.table([made, *others.combine_chunks().columns], schema=schema)
        if not found:
            raise DataError(
                _("none of the {n_paths} files can be read; the first is {name!r}."),
                n_paths=len(self.paths),
                name=self.names[0],
            )


# --- pictures ------------------------------------------------------------------------------------------------------


def _pictures(files: _Files, shape: Shape) -> Iterator[pa.Table]:
    assert shape.size is not None and shape.grey is not None
    size, grey, resized = shape.size, shape.grey, 0

    def values(number: int) -> np.ndarray | None:
        nonlocal resized
        try:
            pixels = decode(files.paths[number].read_bytes(), size, grey)
        except DataError as error:
            files.note("refused", str(error), number)
            return None
        seen = _looked_at(files.paths[number])
        resized += seen is not None and seen[0] != size
        return pixels

    yield from files.tables("image", (*size, 1 if grey else 3), values)
    if resized:
        detail = _(
            "{resized:,} resized to {height} x {width} (change with size=…)",
            resized=resized,
            height=size[0],
            width=size[1],
        )
        files.reading.report.add("counted", _("images resized"), detail=detail)


def _with_masks(files: _Files, masks: Sequence[Path], shape: Shape) -> Iterator[pa.Table]:
    from datasets import Features

    assert shape.size is not None and shape.grey is not None
    size, grey = shape.size, shape.grey
    held: list[np.ndarray] = []

    def values(number: int) -> np.ndarray | None:
        try:
            data = files.paths[number].read_bytes()
            pixels, mask = decode(data, None, grey), decode_mask(masks[number].read_bytes())
            if pixels.shape[:2] != mask.shape:
                raise DataError(
                    _("a picture of {high} x {wide} pixels with a mask of {mask_high} x {mask_wide}"),
                    high=pixels.shape[0], wide=pixels.shape[1], mask_high=mask.shape[0], mask_wide=mask.shape[1],
                )  # fmt: skip
        except DataError as error:
            files.note("refused", str(error), number)
            return None
        held.append(fitted_mask(mask, size))
        return pixels if pixels.shape[:2] == size else decode(data, size, grey)

    for table in files.tables("image", (*size, 1 if grey else 3), values):
        column, kind = mask_column(np.stack(held))
        held.clear()
        features = Features({**Features.from_arrow_schema(table.schema), MASK: kind})
        yield pa.Table.from_arrays([*table.columns, column], schema=features.arrow_schema)


def _looked_at(path: Path) -> tuple[tuple[int, int], bool] | None:
    """(height, width) of a picture and whether it is grey, from its head alone; None where it is none."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                wide, high = picture.size
                return (high, wide), picture.mode in ("1", "L", "I", "I;16", "I;16B", "F")
    except Exception:  # whatever a decoder raises for a damaged file
        return None


def _common_size(sizes: Counter[tuple[int, int]]) -> tuple[int, int]:
    if len(sizes) == 1 and max(next(iter(sizes))) <= 4 * LARGEST:
        return next(iter(sizes))
    short = sorted(min(size) for size in sizes.elements())
    side = min(LARGEST, short[len(short) // 2] if short else LARGEST)
    return side, side


def decode(data: bytes, size: tuple[int, int] | None = None, grey: bool = False) -> np.ndarray:
    """A picture file as uint8 [height, width, 1 or 3], upright, on white where it is transparent.

    It is scaled so that it covers ``size`` and then cut to it from the middle; 16 bits become 8.

    Raises:
        DataError: it is not a complete image, or has more than 50 million pixels.
    """
    import io

    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked here
            with Image.open(io.BytesIO(data)) as picture:
                if picture.size[0] * picture.size[1] > MOST_PIXELS:
                    raise Image.DecompressionBombError
                upright = ImageOps.exif_transpose(picture)
                upright = _eight_bits(upright)
                if "A" in upright.getbands() or "transparency" in upright.info:
                    upright = upright.convert("RGBA")
                    upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
                upright = upright.convert("L" if grey else "RGB")
                if size is not None and (upright.size[1], upright.size[0]) != tuple(size):
                    upright = ImageOps.fit(upright, (size[1], size[0]), Image.Resampling.BILINEAR)
                pixels = np.asarray(upright, np.uint8)
    except Image.DecompressionBombError:  # Pillow's own limit is higher
        raise DataError(_("image larger than {most} million pixels"), most=MOST_PIXELS // 1000000) from None
    except Exception as error:  # decoders raise whatever their formats bring
        raise DataError(_("not a complete image ({type})"), type=type(error).__name__) from error
    return pixels[..., None] if pixels.ndim == 2 else pixels


def decode_mask(data: bytes) -> np.ndarray:
    """A file of a mask as raw values int32 [height, width]: the numbers of a grey or palette image, the colours of
    another (:data:`labkit.data.masks.COLOUR`).

    Raises:
        DataError: it is not a complete image, has more than 50 million pixels, or is stored with loss.
    """
    import io

    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked here
            with Image.open(io.BytesIO(data)) as picture:
                if picture.size[0] * picture.size[1] > MOST_PIXELS:
                    raise Image.DecompressionBombError
                kind = picture.format
                grey = picture.mode in ("1", "L", "P", "I", "I;16", "I;16B", "LA")
                values = np.asarray(picture.convert("L") if picture.mode == "LA" else
                                    picture if grey else picture.convert("RGB"))  # fmt: skip
    except Image.DecompressionBombError:
        raise DataError(_("image larger than {most} million pixels"), most=MOST_PIXELS // 1000000) from None
    except Exception as error:  # decoders raise whatever their formats bring
        raise DataError(_("not a complete image ({type})"), type=type(error).__name__) from error
    if kind == "JPEG":
        raise DataError(_("a mask in JPEG, which changes its values: store masks as PNG"))
    if grey:
        return values.astype(np.int32)
    red, green, blue = (values[..., channel].astype(np.int32) for channel in range(3))
    return COLOUR + (red << 16) + (green << 8) + blue


def fitted_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask cut and scaled as :func:`decode` does with its picture; each pixel keeps a value of the mask."""
    from PIL import Image, ImageOps

    if mask.shape == tuple(size):
        return mask
    fitted = ImageOps.fit(Image.fromarray(mask, mode="I"), (size[1], size[0]), Image.Resampling.NEAREST)
    return np.asarray(fitted, np.int32)


def _eight_bits(picture: PILImage.Image) -> Any:
    """A picture of 16 or 32 bits as one of 8, which Pillow would clip."""
    from PIL import Image

    if picture.mode not in ("I", "I;16", "I;16B", "F"):
        return picture
    values = np.asarray(picture, np.float64)
    top = 65535 if values.max(initial=0) > 255 else 255
    return Image.fromarray((values.clip(0, top) * (255 / top)).astype(np.uint8))


# --- sounds --------------------------------------------------------------------------------------------------------


def _usual_length(files: Sequence[Path], shape: Shape) -> float:
    """Seconds that 95 % of the sounds do not exceed, at most :data:`LONGEST`; with transcripts that none exceeds, at
    most :data:`LONGEST_SPEECH`."""
    lengths = []
    for path in files:
        try:
            lengths.append(len(read_wav(path, shape.rate)))
        except DataError:
            continue
    share, most = (1.0, LONGEST_SPEECH) if shape.transcribed else (0.95, LONGEST)
    return min(most, max(float(np.quantile(lengths, share)) / shape.rate, 0.1)) if lengths else 1.0


def _sounds(files: _Files, shape: Shape) -> Iterator[pa.Table]:
    assert shape.seconds is not None
    samples = round(shape.seconds * shape.rate)

    def values(number: int) -> np.ndarray | None:
        try:
            wave = read_wav(files.paths[number], shape.rate)
        except DataError as error:
            files.note("refused", str(error), number)
            return None
        if len(wave) > samples and shape.transcribed:
            detail = _(
                "{n_wave:.2f} s; the limit is {seconds:.2f} s (change with seconds=…)",
                n_wave=len(wave) / shape.rate, seconds=samples / shape.rate,
            )  # fmt: skip
            files.note("refused", _("sound too long for its transcript to be kept"), number, detail)
            return None
        if len(wave) > samples:
            detail = _(
                "{n_wave:.2f} s, cut to {seconds:.2f} s (change with seconds=…)",
                n_wave=len(wave) / shape.rate,
                seconds=samples / shape.rate,
            )
            files.note("counted", _("sound cut"), number, detail)
        kept = np.zeros(samples, np.float32)
        kept[: min(samples, len(wave))] = wave[:samples]
        return np.rint(kept * 32767).astype(np.int16)

    yield from files.tables("sound", (samples,), values)
