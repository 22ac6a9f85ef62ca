"""Images and numeric tables: stacked arrays from Arrow, and their batches."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.core.config import Config, option
from labkit.core.errors import DataError
from labkit.data import precision
from labkit.data.arrow import batches, column
from labkit.data.batching.base import Batch, OneShapeBatches
from labkit.data.cells import Column
from labkit.data.masks import UNKNOWN
from labkit.data.schema import Spec
from labkit.data.targets import targets_of
from labkit.i18n import _

if TYPE_CHECKING:
    import datasets

_OWN = ("label", "row")  # columns of every split
_KNOWN = ("target", "mask")  # columns of what is predicted


@dataclass(frozen=True, eq=False)
class Arrays:
    """n examples of one shape.

    Attributes:
        inputs: [n, height, width, channels] or [n, features], uint8 where the rows hold bytes; features that
            float32 may round are float64; else float32.
        label: i32[n], class ids, -1 where there is none.
        row: i64[n], row numbers in the source.
        names: of the features, in their order; empty for pictures.
        target: f32[n, k], several labels or numbers; None where each example has one class.
        truncated: examples that were longer than the model reads and lost their end.
    """

    inputs: np.ndarray
    label: np.ndarray
    row: np.ndarray
    names: tuple[str, ...] = ()
    target: np.ndarray | None = None
    truncated: int = 0

    @classmethod
    def unlabelled(cls, inputs: np.ndarray, names: tuple[str, ...] = ()) -> Arrays:
        """Examples to predict on: ``label`` is -1 everywhere and ``row`` counts from 0."""
        return cls(inputs, np.full(len(inputs), -1, np.int32), np.arange(len(inputs)), names)

    def __len__(self) -> int:
        return len(self.label)

    def __repr__(self) -> str:
        return f"<arrays: {len(self)} examples of {self.shape}, {self.inputs.dtype}>"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example: (height, width, channels) or (features,)."""
        return self.inputs.shape[1:]


def stack(dataset: datasets.Dataset, spec: Spec) -> Arrays:
    """The examples of one split as arrays, copied once out of the Arrow buffers; no value becomes a Python
    object.

    Pictures are one column of nested lists (``Array2D``, ``Array3D``; grey ones get an axis of one channel).
    Features are all numeric columns in their order, or one column of lists; a missing value becomes NaN.
    Sounds are one column of lists of int16, and become f32[n, samples] from -1 to 1. What is held in memory
    is the result and one portion of 10,000 rows; bytes stay bytes.

    Raises:
        DataError: there is no such column or more than one, values that are not numbers, or examples of
            several shapes.
    """
    if spec.modality == "text":
        raise DataError(
            _(
                "these rows are texts, not images or features: encode them first (labkit.data.text.encode.encode)."
            )
        )
    types = {
        name: _storage(kind)
        for name, kind in zip(*_schema(dataset), strict=True)
        if name not in (*_OWN, *_KNOWN)
    }
    nested = [name for name, kind in types.items() if _is_list(kind)]
    flat = [name for name, kind in types.items() if _is_number(kind)] if spec.modality == "features" else []
    if len(nested) + bool(flat) != 1:
        shown = ", ".join(f"{name} ({kind})" for name, kind in types.items()) or "none"
        wanted = (
            "one column of nested lists"
            if spec.modality in ("image", "audio")
            else "numeric columns, or one column of lists"
        )
        raise DataError(
            _("examples of type {kind!r} need {wanted}; the columns are {shown}."),
            kind=spec.modality, wanted=wanted, shown=shown,
        )  # fmt: skip
    label, row = (np.asarray(column(dataset, name)) for name in _OWN)
    wide = spec.modality == "features"  # standardised in float64
    inputs = _columns(dataset, flat) if flat else _lists(dataset, nested[0], types[nested[0]], wide)
    if spec.modality == "features":
        inputs = inputs.reshape(len(inputs), math.prod(inputs.shape[1:]))
    elif spec.modality == "audio":
        inputs = inputs.reshape(len(inputs), -1) / np.float32(32767)
    elif inputs.ndim not in (3, 4):
        raise DataError(
            _("images must have two or three axes; those of {nested!r} have {n_axes}."),
            nested=nested[0],
            n_axes=inputs.ndim - 1,
        )
    elif inputs.ndim == 3:
        inputs = inputs[..., None]
    return Arrays(inputs, label.astype(np.int32), row.astype(np.int64), tuple(flat), targets_of(dataset))


@dataclass(frozen=True)
class Standard(Config):
    """Per-feature standardisation, fitted on the training rows and kept with the model: (x - mean) / scale.

    A feature that never changes is only centred; a missing value (NaN) becomes the mean, which is 0.
    """

    names: tuple[str, ...] = option((), "Feature names, if any.")
    mean: tuple[float, ...] = option((), "Mean of each feature.")
    scale: tuple[float, ...] = option((), "Standard deviation of each feature; 1 for constant features.")
    columns: tuple[Column, ...] = option((), "Source columns of the features and their encoding.")
    edges: tuple[float, ...] = option((), "Quantiles of each standardised number, where a model needs them.")

    @classmethod
    def fit(cls, train: Arrays) -> Self:
        """From the training examples alone. Raises :class:`DataError` where a feature has no value in any of
        them."""
        known = np.isfinite(train.inputs).any(0)
        if not known.all():
            place = int(np.argmin(known))
            name = train.names[place] if train.names else f"number {place}"
            raise DataError(
                _("feature {column!r} has no finite value in the training rows. Drop the column."),
                column=name,
            )
        mean, scale = precision.moments(train.inputs)
        return cls(train.names, tuple(mean.tolist()), tuple(np.where(scale > 0, scale, 1.0).tolist()))

    def __call__(self, arrays: Arrays) -> Arrays:
        """The same examples, standardised, float32. A value that is infinite or beyond float32, before or
        after, raises :class:`DataError`."""
        if arrays.shape != (len(self.mean),):
            raise DataError(
                _("examples have the shape {shape}, but the means are for {n_mean} features."),
                shape=arrays.shape,
                n_mean=len(self.mean),
            )
        with np.errstate(over="ignore"):  # refused below
            inputs = (arrays.inputs - np.asarray(self.mean)) / np.asarray(self.scale)
        for values in (arrays.inputs, inputs):
            if (wrong := np.abs(values) > precision.LARGEST).any():
                row, place = np.argwhere(wrong)[0].tolist()
                raise DataError(self._beyond(arrays.row[row], place, arrays.inputs[row, place]))
        return replace(arrays, inputs=np.where(np.isfinite(inputs), inputs, 0).astype(np.float32))

    def cardinalities(self) -> tuple[int, ...]:
        """Categories of each column in the order of its features; 0 for a feature that is a number."""
        categories = {how.features[0]: how.features for how in self.columns if how.kind == "category"}
        coded = {name for names in categories.values() for name in names[1:]}
        starts = self.names or ("",) * len(self.mean)
        return tuple(len(categories.get(name, ())) for name in starts if name not in coded)

    def _beyond(self, row: int, place: int, value: float) -> str:
        name = repr(self.names[place]) if self.names else f"number {place}"
        if np.isinf(value):
            return _(
                "feature {column} is infinite in row {row}. Drop the row, or leave it empty.",
                column=name,
                row=row,
            )
        if abs(value) > precision.LARGEST:
            return _(
                "feature {column} is {value:g} in row {row}, a {beyond}. Drop the row, or leave it empty.",
                column=name, value=value, row=row, beyond=precision.BEYOND,
            )  # fmt: skip
        return _(
                            "feature {column} is {value:g} in row {row}, too far from the training rows (standard "
                "deviation {scale:g}) for float32.",
            column=name, value=value, row=row, scale=self.scale[place],
        )  # fmt: skip


class ArrayBatches(OneShapeBatches):
    """Batches of examples of one shape.

    A batch is ``{"inputs": [b, …] of the arrays' data type, "label": i32[b], "weight": f32[b], "index":
    i32[b]}``, with ``"target": f32[b, k]`` where the arrays have targets. ``index`` is the position in
    ``arrays``. The last batch is filled up with examples of index -1, weight 0, label 0 and inputs 0. The
    order is that of :class:`~labkit.data.batching.buckets.Batches`: a pure function of seed and step.

    Args:
        arrays: the examples.
        batch_size: b, the same in every batch; it may be more than there are examples.
        seed: decides the order, together with the epoch.
        shuffle: mix the examples anew in every epoch; otherwise they come in their order.
        weights: f32[n], weight of every example of ``arrays`` (1 if not given).
        labelled_only: leave examples without a label (-1) out. With False they take part with weight 1 and
            label 0.

    Raises:
        ConfigError: ``batch_size`` or ``seed`` cannot be used.
        DataError: ``weights`` do not fit, or there are examples but none with a label.
    """

    def __init__(
        self,
        arrays: Arrays,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        *,
        weights: np.ndarray | None = None,
        labelled_only: bool = True,
    ):
        super().__init__(arrays, batch_size, seed, shuffle, weights, labelled_only)
        self.arrays = arrays

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The one shape (b, …) of ``inputs``; none where there are no examples."""
        return [(self.batch_size, *self.arrays.shape)] if self.examples else []

    def _batch(self, plan: np.ndarray, place: int) -> Batch:
        return self.gather(plan[place])

    def gather(self, index: np.ndarray) -> Batch:
        """The batch of some examples (-1: none)."""
        inputs = self.arrays.inputs.take(index, 0, mode="clip")  # "clip" is the fast mode; -1 becomes 0
        inputs[index < 0] = 0
        return {"inputs": inputs, **self._known(index)}


@dataclass(frozen=True, eq=False)
class MaskedArrays(Arrays):
    """n pictures with a mask each: ``mask`` u8[n, height, width], :data:`labkit.data.masks.UNKNOWN` where the class of
    a pixel is not known."""

    mask: np.ndarray = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class VectorArrays(Arrays):
    """n examples as the vectors that a backbone makes of them: ``inputs`` is f32[n, d]."""


class VectorBatches(ArrayBatches):
    """As :class:`ArrayBatches`, with ``vectors`` f32[b, d] in place of ``inputs``."""

    def gather(self, index: np.ndarray) -> Batch:
        """The batch of some examples (-1: none)."""
        batch = super().gather(index)
        return {"vectors": batch.pop("inputs"), **batch}


class MaskBatches(ArrayBatches):
    """As :class:`ArrayBatches`, with ``mask`` u8[b, height, width]."""

    def __init__(
        self,
        arrays: MaskedArrays,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        *,
        weights: np.ndarray | None = None,
    ):
        super().__init__(arrays, batch_size, seed, shuffle, weights=weights, labelled_only=False)
        self.masks = arrays.mask

    def gather(self, index: np.ndarray) -> Batch:
        """The batch of some examples (-1: none)."""
        mask = self.masks.take(index, 0, mode="clip")
        mask[index < 0] = UNKNOWN
        return {**super().gather(index), "mask": mask}


def _schema(dataset: datasets.Dataset) -> tuple[list[str], list[pa.DataType]]:
    schema = dataset.features.arrow_schema
    return schema.names, schema.types


def _storage(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _is_wide(kind: pa.DataType) -> bool:
    """Whether float32 may round numbers of this type."""
    return kind.bit_width >= (32 if pa.types.is_integer(kind) else 64)


def _columns(dataset: datasets.Dataset, names: list[str]) -> np.ndarray:
    """Numeric columns side by side, [n, features]: a missing value is NaN; f64 where float32 may round, else
    f32."""
    types = dict(
        zip(*_schema(dataset), strict=True)
    )  # once: ``datasets`` copies all features at every access
    kinds = [_storage(types[name]) for name in names]
    wide = pa.float64() if any(map(_is_wide, kinds)) else pa.float32()
    inputs, start = np.empty((len(dataset), len(names)), wide.to_pandas_dtype()), 0
    for table in batches(dataset, names):
        for place, values in enumerate(table.columns):
            inputs[start : start + len(table), place] = values.cast(wide, safe=False).to_numpy()
        start += len(table)
    return inputs


def _lists(dataset: datasets.Dataset, name: str, kind: pa.DataType, wide: bool) -> np.ndarray:
    """A column of equally long nested lists as one array [n, …], uint8 or float32; float64 with ``wide``,
    where float32 could round the values."""
    axes = 1
    while _is_list(kind := kind.value_type):
        axes += 1
    if not _is_number(kind):
        raise DataError(_("column {column!r} contains {kind}, not numbers."), column=name, kind=kind)
    dtype: Any = np.float64 if wide and _is_wide(kind) else np.float32
    if kind == pa.uint8():
        dtype = np.uint8
    inputs, start = np.empty((len(dataset),), dtype), 0
    for table in batches(dataset, [name]):
        for chunk in table.column(0).chunks:
            values, shape = _values(chunk, axes, name)
            if not start:
                inputs = np.empty((len(dataset), *shape), dtype)
            if shape != inputs.shape[1:]:
                raise DataError(
                    _("column {column!r} contains examples of different shapes: {shape} and {other_shape}."),
                    column=name, shape=inputs.shape[1:], other_shape=shape,
                )  # fmt: skip
            values = values.reshape(-1, *shape)
            if not wide and (said := precision.rounded_away(values)):
                raise DataError(
                    _("column {column!r}, rows {start} to {end}: {said}."),
                    column=name, start=start, end=start + len(chunk) - 1, said=said,
                )  # fmt: skip
            inputs[start : start + len(chunk)] = values
            start += len(chunk)
    return inputs


def _values(chunk: pa.Array, axes: int, name: str) -> tuple[np.ndarray, tuple[int, ...]]:
    """The numbers of nested lists end to end, and the shape that all lists have."""
    values, shape = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk, []
    for _unused in range(axes):
        if values.null_count:
            raise DataError(
                _("column {column!r} has {null_count} missing examples or image lines. Drop these rows."),
                column=name,
                null_count=values.null_count,
            )
        least, most = pc.min_max(pc.list_value_length(values)).values()
        if least.as_py() != most.as_py():
            raise DataError(
                _(
                    "column {column!r} contains lists of {least} to {most} values; all must have the same "
                    "shape."),
                column=name, least=least, most=most,
            )  # fmt: skip
        shape.append(most.as_py())
        values = values.flatten()
    if values.null_count and pa.types.is_integer(values.type):
        raise DataError(
            _("column {column!r} has {null_count} missing values. Drop these rows."),
            column=name,
            null_count=values.null_count,
        )
    return values.to_numpy(zero_copy_only=False), tuple(shape)
