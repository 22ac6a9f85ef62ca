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
_PORTION = 64  # files decoded at a time


@dataclass(frozen=True)
class Shape:
    """What the files of a folder are brought to.

    ``size``: (height, width) of pictures, ``grey``: without colours; ``seconds``: length of sounds, and
    ``rate``: their samples a second. What is None is found out.
    """

    size: tuple[int, int] | None = None
    grey: bool | None = None
    seconds: float | None = None
    rate: int = RATE


def shape_of(
    size: int | Sequence[int] | None = None, seconds: float | None = None, rate: int | None = None
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
    return Shape(both, None, seconds, rate or RATE)


def medium_of(files: Sequence[Path]) -> str:
    """ "image" or "audio", by the endings. Raises :class:`DataError` where there are both."""
    kinds = {"image" if path.suffix.lower() in PICTURES else "audio" for path in files}
    if len(kinds) > 1:
        raise DataError(_("the folder contains both images and sounds; use a separate folder for each."))
    return kinds.pop()


def settled(files: Sequence[Path], shape: Shape) -> Shape:
    """``shape`` with what these files say of it; they are looked at, pictures by their heads alone."""
    if medium_of(files) == "audio":
        return shape if shape.seconds else replace(shape, seconds=_usual_length(files, shape.rate))
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


def _eight_bits(picture: PILImage.Image) -> Any:
    """A picture of 16 or 32 bits as one of 8, which Pillow would clip."""
    from PIL import Image

    if picture.mode not in ("I", "I;16", "I;16B", "F"):
        return picture
    values = np.asarray(picture, np.float64)
    top = 65535 if values.max(initial=0) > 255 else 255
    return Image.fromarray((values.clip(0, top) * (255 / top)).astype(np.uint8))


# --- sounds --------------------------------------------------------------------------------------------------------


def _usual_length(files: Sequence[Path], rate: int) -> float:
    """Seconds that 95 % of the sounds do not exceed, at most :data:`LONGEST`."""
    lengths = []
    for path in files:
        try:
            lengths.append(len(read_wav(path, rate)))
        except DataError:
            continue
    return min(LONGEST, max(float(np.quantile(lengths, 0.95)) / rate, 0.1)) if lengths else 1.0


def _sounds(files: _Files, shape: Shape) -> Iterator[pa.Table]:
    assert shape.seconds is not None
    samples = round(shape.seconds * shape.rate)

    def values(number: int) -> np.ndarray | None:
        try:
            wave = read_wav(files.paths[number], shape.rate)
        except DataError as error:
            files.note("refused", str(error), number)
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
