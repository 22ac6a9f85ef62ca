"""Folders: one table per split, one subfolder per class, or a table of image or sound files.

Every file that is not read is named in the report, and so are files that systems add.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Value

from labkit.core.cache import fingerprint, sha256_file
from labkit.core.errors import DataError
from labkit.core.safety import system_file
from labkit.data.arrow import batches
from labkit.data.columns import LABEL, TEXT
from labkit.data.io.arrow_cache import PORTION, ROW, Part, Reading, cached
from labkit.data.io.compressed import OPENERS
from labkit.data.io.csv import Dialect
from labkit.data.io.encoding import LOST, detect
from labkit.data.io.files import READERS, read_shards
from labkit.data.io.media import PICTURES, SOUNDS, Shape, medium_of, read_masked, read_media, settled
from labkit.data.report import CAP, Note, Report, visible
from labkit.i18n import _

Parts = dict[str, Callable[[], Part]]  # split → what reads it

SPLITS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
MEDIA = (*PICTURES, *SOUNDS)
TABLES = tuple(kind for kind in READERS if kind != ".txt")
#: Usual names of the folders of pictures and of their masks.
IMAGES = ("images", "image", "imgs", "img", "pictures", "photos", "图片", "图像")
MASKS = ("masks", "mask", "segmentation", "annotations", "labels", "掩码", "标注")
#: Columns that usually name a file, where its ending is left out.
FILES = frozenset({
    "file", "file_name", "filename", "file_path", "filepath", "path", "image", "image_path", "image_file",
    "image_name", "image_id", "img", "picture", "photo", "audio", "audio_path", "audio_file", "sound", "wav",
    "文件", "文件名", "图片", "图像", "音频",
})  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
        parts: split → a function that reads it.
        kind: "text", "image" or "audio"; "text" is any table.
        shape: what pictures or sounds are brought to.
        notes: files that are not read.
        tables: False for pictures or sounds by class, to which the options of tables mean nothing.
        masked: whether each picture has a mask.
    """

    parts: Parts
    kind: str = "text"
    shape: Shape = field(default_factory=Shape)
    notes: tuple[Note, ...] = ()
    tables: bool = True
    masked: bool = False


def canonical(name: str) -> str:
    """``train``, ``validation`` or ``test`` for the names these go by; any other name as it is."""
    return SPLITS.get(name.lower(), name)


def in_order(splits: dict[str, Any]) -> dict[str, Any]:
    """Train, validation, test, then the others by name."""
    first = ("train", "validation", "test")
    return {name: splits[name] for name in (*first, *sorted(set(splits) - set(first))) if name in splits}


def read_folder(folder: Path, dialect: Dialect, shape: Shape, tables: bool = False) -> Found:
    """What a folder holds; the first of these that there is:

    1. a folder of pictures and one of their masks, also within train/, test/ …;
    2. a table for each split, or one table, whose column names pictures or sounds in the folder;
    3. a folder for each class with pictures or sounds, also within train/, test/ …;
    4. a table for each split, or one table;
    5. a folder for each class with texts;
    6. a plain text for each split, or one.

    Args:
        folder: the folder.
        dialect: how its tables are written.
        shape: what pictures and sounds are brought to.
        tables: whether the caller names columns of a table, so that it is read as such.

    Raises:
        DataError: the folder holds none of these, pictures and sounds, or two files for one split.
    """
    if found := _masked(folder, shape):
        return found
    named = _split_tables(folder, TABLES)
    media = _classes(folder, MEDIA)
    by_class = bool(media) and not (named and _single_class(media))
    if named and not tables and (found := named_files(folder, named, dialect, shape, labelled=by_class)):
        return found
    if by_class:
        shape = settled(next(iter(media.values()))[1], shape)
        kind = medium_of([path for _, files in media.values() for path in files])
        parts, notes = _of_classes(
            folder, media, lambda files, about: read_media(files, shape, about, _names(about))
        )
        return Found(parts, kind, shape, tuple(notes), tables=False)
    texts = _classes(folder, (".txt",))
    at_root = all(path.parent == folder for path in _flat(named))
    if named and (at_root or not texts):
        return Found(_shards(named, dialect), notes=_left(folder, _flat(named)))
    if texts:
        read = lambda files, about: read_texts(files, about, _names(about), dialect.encoding)  # noqa: E731
        parts, notes = _of_classes(folder, texts, read)
        return Found(parts, notes=tuple(notes))
    if named := _split_tables(folder, (".txt",)):
        return Found(_shards(named, dialect), notes=_left(folder, _flat(named)))
    listed = ", ".join(sorted(child.name for child in folder.iterdir() if not system_file(child.name))[:12])
    raise DataError(
        _(
            "the folder {folder!r} contains {listed}. Expected one file per split (train.csv, "
            "validation.csv, test.csv; or .tsv, .jsonl, .parquet, .xlsx) or one subfolder per class "
            "(pos/, neg/) with texts (.txt), images (.png, .jpg …) or sounds (.wav)."),
        folder=folder.name, listed=listed or _("nothing"),
    )  # fmt: skip


def _shards(named: Mapping[str, list[Path]], dialect: Dialect) -> Parts:
    return {name: partial(read_shards, files, dialect) for name, files in in_order(dict(named)).items()}


def _names(about: pa.Table) -> list[str]:
    return about.column("file").to_pylist()


def _flat(named: Mapping[str, Iterable[Path]]) -> set[Path]:
    return {path for files in named.values() for path in files}


# --- what there is -------------------------------------------------------------------------------------------------


def _visible(folder: Path) -> list[Path]:
    """Files and folders by name, without those of the system."""
    return sorted(child for child in folder.iterdir() if not system_file(child.name))


def _folders(folder: Path) -> list[Path]:
    return [child for child in _visible(folder) if child.is_dir()]


def _below(folder: Path, endings: Iterable[str]) -> list[Path]:
    """Files with these endings in a folder and in the folders within it."""
    found: list[Path] = []
    for child in _visible(folder):
        if child.is_file():
            found += [child] if child.suffix.lower() in endings else []
        elif not child.is_symlink():  # a link may lead back to a folder above
            found += _below(child, endings)
    return found


def _split_folders(folder: Path) -> dict[str, Path]:
    """Split → the folder of that name. Raises :class:`DataError` for two of one split."""
    found: dict[str, Path] = {}
    for child in _folders(folder):
        if child.name.lower() in SPLITS:
            split = canonical(child.name)
            if split in found:
                raise _twice(found[split], child, split)
            found[split] = child
    return found


def _twice(one: Path, two: Path, split: str) -> DataError:
    return DataError(
        _("{file!r} and {other_file!r} both define the split {split!r}: remove one."),
        file=one.name, other_file=two.name, split=split,
    )  # fmt: skip


def _left(folder: Path, used: Iterable[Path]) -> tuple[Note, ...]:
    """Notes of the files in a folder that are not read, and of those that a system added; at most
    :data:`CAP`."""
    used = set(used)
    report, above = Report(), {parent for path in used for parent in path.parents}
    unread = _unread(folder, used, above)
    for path in itertools.islice(unread, CAP):
        name = path.relative_to(folder).as_posix() + "/" * path.is_dir()
        if system_file(path.name):
            report.add("counted", _("system file skipped"), detail=name)
        else:
            report.add("counted", _("file not read"), detail=name)
    return tuple(report.notes)


def _unread(folder: Path, used: set[Path], above: set[Path]) -> Iterator[Path]:
    """Files that are not used; of the system's folders, links and empty folders the name alone."""
    children = sorted(folder.iterdir())
    for child in children:
        if child.is_dir() and not system_file(child.name) and (child in above or not child.is_symlink()):
            yield from _unread(child, used, above)
        elif child not in used:
            yield child
    if not children:
        yield folder


# --- a table for each split ----------------------------------------------------------------------------------------

_SHARD = re.compile(r"(.+?)([-_.]\d+(?:-of-\d+)?(?:-[0-9a-f]{8}[\w.-]*)?)?")


def _split_tables(folder: Path, kinds: Iterable[str]) -> dict[str, list[Path]]:
    """Split → its file, or its shards (train-00000-of-00002.parquet) in order: by their names, by the folder
    they are in, or all files where they are one table."""
    files = _tables(folder, kinds)
    found: dict[str, list[Path]] = {}
    plain: dict[str, Path] = {}  # those that are no shards
    for path in files:
        name, shard = _parted(path)
        if name.lower() not in SPLITS:
            continue
        split = canonical(name)
        if split in found and (not shard or split in plain or _kind(found[split][0]) != _kind(path)):
            raise _twice(found[split][0], path, split)
        found.setdefault(split, []).append(path)
        if not shard:
            plain[split] = path
    if not found:
        inner = {split: _one_table(_tables(child, kinds)) for split, child in _split_folders(folder).items()}
        found = {split: shards for split, shards in inner.items() if shards}
    if not found and (shards := _one_table(files)):
        found = {"train": shards}
    return found


def _tables(folder: Path, kinds: Iterable[str]) -> list[Path]:
    return [path for path in _visible(folder) if _kind(path) in kinds and path.is_file()]


def _kind(path: Path) -> str:
    """The file extension of a table, without that of its compression."""
    return Path(path.stem if path.suffix.lower() in OPENERS else path.name).suffix.lower()


def _parted(path: Path) -> tuple[str, str | None]:
    """The name of a table without its endings, and what numbers it as a shard."""
    name = path.stem if path.suffix.lower() in OPENERS else path.name
    return _SHARD.fullmatch(Path(name).stem).groups()  # type: ignore[union-attr]


def _one_table(files: list[Path]) -> list[Path]:
    """``files`` where they are one table: a single one, or the shards of one name."""
    names = {(*_parted(path)[:1], _kind(path)) for path in files}
    whole = len(files) == 1 or (len(names) == 1 and all(_parted(path)[1] for path in files))
    return files if whole else []


# --- a folder for each class ---------------------------------------------------------------------------------------

Classes = dict[str, tuple[Path, list[Path]]]  # split → folder of the classes, and the files in them


def _classes(folder: Path, endings: Iterable[str]) -> Classes:
    """The files of each split in folders by class; a single folder around all of them is passed through."""
    splits = {name: (child, _class_files(child, endings)) for name, child in _split_folders(folder).items()}
    if found := {name: (child, files) for name, (child, files) in splits.items() if files}:
        return in_order(found)
    files = _class_files(folder, endings)
    inside = _visible(folder)
    if len(inside) == 1 and inside[0].is_dir() and (found := _classes(inside[0], endings)):
        return found
    if all(path.relative_to(folder).parts[0].lower() in SPLITS for path in files):
        return {}  # folders of splits without classes
    return {"train": (folder, files)}


def _class_files(folder: Path, endings: Iterable[str]) -> list[Path]:
    return [path for child in _folders(folder) for path in _below(child, endings)]


def _single_class(found: Classes) -> bool:
    return all(
        len({path.relative_to(root).parts[0] for path in files}) == 1 for root, files in found.values()
    )


def _about(root: Path, files: list[Path]) -> pa.Table:
    """Label (the folder of the class), file and row number of each file."""
    names = [path.relative_to(root) for path in files]
    return pa.table({
        "label": pa.array([name.parts[0] for name in names], pa.string()),
        "file": pa.array([name.as_posix() for name in names], pa.string()),
        ROW: pa.array(range(len(files)), pa.int64()),
    })  # fmt: skip


def _of_classes(
    folder: Path, found: Classes, read: Callable[[list[Path], pa.Table], Part]
) -> tuple[Parts, list[Note]]:
    parts: Parts = {
        name: partial(lambda root, files: read(files, _about(root, files)), root, files)
        for name, (root, files) in found.items()
    }
    report = Report()
    for root, files in found.values():
        deep = [path for path in files if len(path.relative_to(root).parts) > 2]
        names = [path.relative_to(folder).as_posix() for path in deep]
        report.add("counted", _("file in a subfolder of its class"), [None] * len(deep), detail=names)
    used = {path for _, files in found.values() for path in files}
    return parts, [*report.notes, *_left(folder, used)]


# --- pictures with masks -------------------------------------------------------------------------------------------


def _masked(folder: Path, shape: Shape) -> Found | None:
    """Pictures with masks; None where the folder holds none.

    Raises:
        DataError: ``masks`` names a folder that is missing.
    """
    pairs = _mask_folders(folder, shape.masks)
    if not pairs:
        if shape.masks is not None:
            raise DataError(
                _("the folder {folder!r} has no pictures with masks in a folder {masks!r} beside them."),
                folder=folder.name, masks=shape.masks,
            )  # fmt: skip
        return None
    shape = settled(_below(next(iter(pairs.values()))[0], PICTURES), shape)
    parts: Parts = {split: partial(_read_masked, *both, shape) for split, both in pairs.items()}
    used = {path for both in pairs.values() for place in both for path in _below(place, PICTURES)}
    return Found(parts, "image", shape, _left(folder, used), tables=False, masked=True)


def _mask_folders(folder: Path, wanted: str | None) -> dict[str, tuple[Path, Path]]:
    """Split → the folders of its pictures and of its masks."""
    if both := _pair(folder, wanted):
        images, masks = map(_split_folders, both)
        shared = {split: (images[split], masks[split]) for split in images if split in masks}
        return in_order(shared) if shared else {"train": both}
    inside = {split: _pair(child, wanted) for split, child in _split_folders(folder).items()}
    return in_order({split: both for split, both in inside.items() if both})


def _pair(folder: Path, wanted: str | None) -> tuple[Path, Path] | None:
    """The folder of pictures and that of masks in a folder, where there are both."""
    inside = {child.name.lower(): child for child in _folders(folder)}
    names = MASKS if wanted is None else (wanted.lower(),)
    masks = next((inside[name] for name in names if name in inside), None)
    images = next((inside[name] for name in IMAGES if name in inside), None)
    if images is None and wanted is not None and masks is not None and len(inside) == 2:
        images = next(child for child in inside.values() if child != masks)
    if images is None or masks is None or images == masks:
        return None
    return (images, masks) if _below(images, PICTURES) and _below(masks, PICTURES) else None


def _read_masked(images: Path, masks: Path, shape: Shape) -> Part:
    """The pictures of a folder with the masks of the same name, or with "_mask" behind it."""
    files, report = _below(images, PICTURES), Report()
    index = {_stem(path, masks): path for path in _below(masks, PICTURES)}
    names = [path.relative_to(images).as_posix() for path in files]
    found = [index.get(stem := _stem(path, images)) or index.get(f"{stem}_mask") for path in files]
    there = [place for place, mask in enumerate(found) if mask is not None]
    gone = [place for place, mask in enumerate(found) if mask is None]
    report.add("refused", _("picture without a mask"), gone, column="file", detail=[names[n] for n in gone])
    left = [path.relative_to(masks).as_posix() for path in index.values() if path not in set(found)]
    report.add("counted", _("mask without a picture"), [None] * len(left), detail=left)
    if not there:
        raise DataError(
            _("no file in {masks!r} has the name of a picture in {images!r}, such as {name!r}."),
            masks=masks.name, images=images.name, name=names[0],
        )  # fmt: skip
    about = pa.table({"file": [names[n] for n in there], ROW: pa.array(there, pa.int64())})
    part = read_masked(
        [files[n] for n in there], [path for path in found if path], shape, about, _names(about)
    )
    return Part(part.table, report.merge(part.report), len(files))


def _stem(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix().casefold()


# --- files that a table names --------------------------------------------------------------------------------------


class _Index:
    """Files below a folder by the names that a table may give them: a path, or where it is the only one, its
    last part, with its ending or without."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.paths: dict[str, Path] = {}
        self.names: dict[str, Path | None] = {}  # None: several files
        for path in _below(folder, (*MEDIA, ".txt")):
            name = path.relative_to(folder).as_posix()
            self.paths[name] = path
            for key in {name.casefold(), path.name.casefold(), path.stem.casefold()}:
                self.names[key] = None if key in self.names else path

    def find(self, value: str, start: Path) -> Path | None:
        """The file that a table in the folder ``start`` calls ``value``; None where there is none, or
        several."""
        written = value.strip().replace("\\", "/")
        name = posixpath.normpath(posixpath.join(start.relative_to(self.folder).as_posix(), written))
        if name in self.paths:
            return self.paths[name]
        return self.names.get(name.casefold()) or self.names.get(PurePosixPath(written).name.casefold())


def looks_like_files(values: Iterable[str | None]) -> bool:
    """Whether most of these texts end like the name of a picture, a sound or a text file."""
    known = [value for value in values if value]
    some = [
        value
        for value in known
        if Path(value.strip()).suffix.lower() in (*MEDIA, ".txt") and "\n" not in value
    ]
    return bool(known) and 2 * len(some) > len(known)


def named_files(
    folder: Path, named: Mapping[str, list[Path]], dialect: Dialect, shape: Shape, labelled: bool = False
) -> Found | None:
    """Pictures, sounds or texts that a column of tables names, with the other columns; None where no column
    does.

    Args:
        folder: where the files are, or below it.
        named: split → the files of its table.
        dialect: how the tables are written.
        shape: what pictures and sounds are brought to.
        labelled: whether the tables must have a column of a usual name for a label.
    """
    try:
        tables = {name: read_shards(files, dialect) for name, files in named.items()}
    except DataError:
        return None  # whoever reads it as a table says why
    first = next(iter(tables.values())).table
    # Columns are read from the Arrow table: ``datasets`` copies its features at every access.
    columns = [name for name, feature in first.features.items() if feature == Value("string")]
    if labelled and not any(name.casefold() in LABEL for name in columns):
        return None
    head = next(batches(first, columns, 200), None)
    heads = {
        name: [] if head is None else head.column(place).to_pylist() for place, name in enumerate(columns)
    }
    if not shape.transcribed and any(
        name.casefold() in TEXT and not looks_like_files(heads[name]) for name in columns
    ):
        return None
    likely = [name for name in columns if looks_like_files(heads[name]) or name.casefold() in FILES]
    index = _Index(folder) if likely else None
    for name in sorted(likely, key=lambda name: name.casefold() not in FILES):
        start = next(iter(named.values()))[0].parent
        known = [value for value in heads[name] if value]
        if index and 2 * sum(index.find(value, start) is not None for value in known) > len(known):
            return _of_tables(named, tables, name, index, shape)
    return None


def _of_tables(
    named: Mapping[str, list[Path]], tables: Mapping[str, Part], column: str, index: _Index, shape: Shape
) -> Found:
    files = {
        name: [
            value and index.find(value, named[name][0].parent)
            for value in part.table.with_format(None)[column]
        ]
        for name, part in tables.items()
    }
    there = {name: [path for path in paths if path] for name, paths in files.items()}
    text = all(path.suffix.lower() == ".txt" for paths in there.values() for path in paths)
    kind = "text" if text else medium_of([path for paths in there.values() for path in paths])
    if not text:
        shape = settled(there.get("train") or next(iter(there.values())), shape)
    parts: Parts = {
        name: partial(_read_named, part, column, files[name], kind, shape) for name, part in tables.items()
    }
    used = {*_flat(there), *_flat(named)}
    return Found(in_order(parts), kind, shape, _left(index.folder, used))


def _read_named(part: Part, column: str, files: list[Path | None], kind: str, shape: Shape) -> Part:
    """The files of the rows of a table, with the other columns of the table."""
    table = part.table.with_format("arrow")[:]
    report = part.report.merge(())
    there = np.flatnonzero([path is not None for path in files])
    gone = np.flatnonzero([path is None for path in files])
    values, rows = table.column(column), table.column(ROW)
    detail = [visible(str(values[int(at)].as_py()), 100) for at in gone]
    report.add(
        "refused", _("no such file"), [rows[int(at)].as_py() for at in gone], column=column, detail=detail
    )
    table = table.take(pa.array(there))
    taken = kind if kind in ("text", "image") else "sound"
    if taken in table.column_names:
        new = "file" if taken == column and "file" not in table.column_names else f"source_{taken}"
        table = table.rename_columns([new if name == taken else name for name in table.column_names])
        report.add("repaired", _("column renamed"), column=taken, detail=_("now {new!r}", new=new))
    paths, names = [files[at] for at in there], [str(values[int(at)].as_py()) for at in there]
    found = read_texts(paths, table, names) if kind == "text" else read_media(paths, shape, table, names)
    return Part(found.table, report.merge(found.report), part.records)


# --- texts ---------------------------------------------------------------------------------------------------------


_KNOWN, _HEAD = 20, 4096  # texts of a folder that show its language, and bytes of each


def read_texts(files: list[Path], about: pa.Table, names: list[str], encoding: str | None = None) -> Part:
    """The text of each file (column ``text``), with its row of the table ``about``."""
    key = ["texts", fingerprint(names, [sha256_file(path) for path in files], about.to_pylist()), encoding]
    return cached(key, lambda reading: _texts(files, about, names, encoding, reading))


def _texts(
    files: list[Path], about: pa.Table, names: list[str], given: str | None, reading: Reading
) -> Iterator[pa.Table]:
    rows = about.column(ROW).to_pylist()
    beside = {} if given else _known_texts(files)
    for start in range(0, len(files), PORTION):
        texts = []
        for place in range(start, min(start + PORTION, len(files))):
            row, name, path = rows[place], names[place], files[place]
            encoding = detect(path, given, beside.get(path.parent) or beside.get(None, ""))
            with encoding.open(path) as file:
                texts.append(file.read())
            if encoding.guessed:
                reading.report.add("counted", _("encoding guessed"), [row], detail=f"{name}: {encoding.name}")
            if encoding.doubt:
                reading.report.add(
                    "counted", _("encoding uncertain"), [row], detail=f"{name}: {encoding.doubt}"
                )
            if not encoding.sure and LOST in texts[-1]:
                lost = _("bytes invalid in {encoding} replaced by U+FFFD", encoding=encoding.name)
                reading.report.add("repaired", lost, [row], detail=name)
        reading.records = start + len(texts)
        yield about.slice(start, len(texts)).add_column(0, "text", pa.array(texts, pa.string()))


def _known_texts(files: list[Path]) -> dict[Path | None, str]:
    """Folder → the beginnings of some texts in it that are UTF-8; None → of all folders."""
    found: dict[Path | None, list[str]] = {None: []}
    for path in files:
        here = found.setdefault(path.parent, [])
        if len(here) < _KNOWN:
            with open(path, "rb") as file:
                head = file.read(_HEAD)
            with contextlib.suppress(UnicodeDecodeError):
                text = codecs.getincrementaldecoder("utf-8")().decode(head)
                here.append(text)
                found[None].append(text)
    return {folder: "\n".join(texts[: 5 * _KNOWN]) for folder, texts in found.items()}
