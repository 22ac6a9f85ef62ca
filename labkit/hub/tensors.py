"""Tensors of a folder in Hugging Face format. Only safetensors is opened: it cannot carry code."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from labkit.core import manifest
from labkit.core.errors import WeightsError
from labkit.core.safety import UNSAFE, check_safetensors, kind_of
from labkit.i18n import _, joined

SHOWN = 10  # of each kind of mismatch in a message
CAST = {"F16": "float16", "BF16": "bfloat16"}
#: Dtypes that safetensors reads as NumPy arrays.
READABLE = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")
LARGEST = 1e15  # squares of larger weights, summed over a layer, overflow float32
UNITS = float(np.finfo(np.float32).max)  # of a regression's head
CURE = _(
    "Only safetensors is supported, because other formats can execute code. If you trust the file, "
    "convert it with `AutoModel.from_pretrained(folder).save_pretrained(new_folder, "
    "safe_serialization=True)` of transformers."
)


class Tensors(Mapping[str, np.ndarray]):
    """The tensors of a folder by name, memory-mapped: one ``model.safetensors`` or shards with their index.

    Raises:
        WeightsError: no safetensors in the folder (other formats are named and refused), a file that is
            something else inside, a damaged file, an index that points at files that are not there or out of
            the folder.
    """

    def __init__(self, folder: str | Path, files: list[Path] | None = None):
        self.folder = Path(folder)
        files = _files(self.folder) if files is None else files
        if (self.folder / manifest.NAME).exists():  # labkit's own folders have one
            check_sealed(self.folder, [file.name for file in files])
        opened = [_open(file) for file in files]
        self._where = {name: file for file in opened for name in file.keys()}  # noqa: SIM118 (not a mapping)
        if len(self._where) < sum(len(file.keys()) for file in opened):
            names = Counter(name for file in opened for name in file.keys())  # noqa: SIM118
            twice = [name for name, count in names.items() if count > 1]
            raise WeightsError(
                _("several files in {folder} contain {twice}. Download or copy the folder again."),
                folder=self.folder,
                twice=", ".join(twice[:SHOWN]),
            )

    def __getitem__(self, name: str) -> np.ndarray:
        opened, kind = self._where[name], self.kind(name)[1]
        if kind not in READABLE:
            raise WeightsError(
                _("the weights in {folder} cannot be read: {name} has the dtype {kind}; supported: {known}."),
                folder=self.folder, name=name, kind=kind, known=", ".join(READABLE),
            )  # fmt: skip
        return opened.get_tensor(name)

    def whole_numbers(self, name: str) -> np.ndarray:
        """A tensor of 8-bit whole numbers, which quantised weights of labkit have. Raises :class:`WeightsError` for
        another."""
        if (kind := self.kind(name)[1]) not in ("I8", "U8"):
            raise WeightsError(
                _("the weights in {folder} cannot be read: {name} has the dtype {kind}; supported: {known}."),
                folder=self.folder, name=name, kind=kind, known="I8, U8",
            )  # fmt: skip
        return self._where[name].get_tensor(name)

    def checked(self, name: str, largest: float = LARGEST) -> np.ndarray:
        """A tensor whose values are finite and usable; see :func:`check_values`."""
        check_values(array := self[name], name, self.folder, largest)
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)

    def kind(self, name: str) -> tuple[tuple[int, ...], str]:
        """Shape and dtype ("F32", "BF16", …) of a tensor, without reading it."""
        piece = self._where[name].get_slice(name)
        return tuple(piece.get_shape()), piece.get_dtype()


def check_values(array: np.ndarray, name: str, folder: Path, largest: float = LARGEST) -> None:
    """Raise :class:`WeightsError` for a tensor with values that make every output NaN or infinite.

    ``largest``: the largest amount; :data:`UNITS` for the head of a regression, which holds the unit of its
    numbers.
    """
    if array.size and array.dtype.kind in "fV":
        for value in (float(array.min()), float(array.max())):  # NaN carries over; nothing is allocated
            if not abs(value) <= largest:
                raise WeightsError(
                    _(
                        "the weights in {folder} are damaged: {name} contains {value:g}; expected finite "
                        "values up to {largest:g}. Download, copy or train them again."),
                    folder=folder, name=name, value=value, largest=largest,
                )  # fmt: skip


def check_sealed(folder: Path, only: Collection[str] | None = None) -> None:
    """Raise :class:`WeightsError` where files of a sealed folder (``only``: of these) are not as they were
    sealed."""
    if problems := manifest.damage(folder, only):
        raise WeightsError(
            _(
                "the model in {folder} is damaged: {problems}. Copy or export it again; if you changed "
                "the file yourself, remove {manifest}."),
            folder=folder, problems=joined(_("; "), problems[:SHOWN]), manifest=manifest.NAME,
        )  # fmt: skip


def write_tensors(folder: Path, tensors: dict[str, np.ndarray], name: str = "model.safetensors") -> None:
    """Write a file of tensors into a folder (made if it is not there), whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{name}.{os.getpid()}"
    try:
        arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        save_file(arrays, part, metadata={"format": "pt"})  # "pt": what Hugging Face readers ask for
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, folder / name)
    finally:
        part.unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, checked to be inside it."""
    if (single := folder / "model.safetensors").is_file():
        return [single]
    if (index := folder / "model.safetensors.index.json").is_file():
        try:
            names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise WeightsError(
                _("{index} is not an index of weights ({error}). Fetch the folder again."),
                index=index,
                error=error,
            ) from None
        if bad := [str(name) for name in names if not _lies_in(folder, name)]:
            raise WeightsError(
                _("{index} lists files that are not in the folder: {bad}. Download it again."),
                index=index,
                bad=", ".join(bad),
            )
        return [folder / name for name in names]
    there = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
    if refused := [name for name in there if name.lower().endswith(tuple(UNSAFE))]:
        raise WeightsError(
            _("{folder} contains {refused} and no model.safetensors. {cure}"),
            folder=folder, refused=", ".join(refused), cure=CURE,
        )  # fmt: skip
    raise WeightsError(
        _("{folder} contains no model.safetensors; it has: {there}."),
        folder=folder,
        there=", ".join(there) or _("nothing"),
    )


def _lies_in(folder: Path, name: object) -> bool:
    return isinstance(name, str) and Path(name).name == name and (folder / name).is_file()


def _open(file: Path) -> Any:
    try:
        check_safetensors(file)
        return safe_open(file, "np")
    except (WeightsError, SafetensorError) as error:
        with open(file, "rb") as raw:
            start = raw.read(32)
        # Looked at only now: the length that opens a sound file may begin with any byte.
        if what := kind_of(start):
            packed = (
                _("a ZIP archive, as torch.save writes (pickle inside)") if what == "a ZIP archive" else what
            )
            raise WeightsError(_("{file} is {what}. {cure}"), file=file, what=packed, cure=CURE) from None
        if isinstance(error, WeightsError):
            raise WeightsError(_("{error} Fetch or copy it again."), error=error) from None
        raise WeightsError(
            _("{file} is damaged or not safetensors ({error}). Fetch or copy it again."),
            file=file,
            error=error,
        ) from None
