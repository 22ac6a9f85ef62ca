"""Named splits of normalised Arrow columns, with schema and report."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.core import html
from labkit.core.errors import DataError, nearest, os_reason
from labkit.data.arrow import batches, contents, digest, large, numbers, text_columns
from labkit.data.report import Note, Report, visible
from labkit.data.schema import Spec, check_splits, describe
from labkit.i18n import _

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset

MARK = "rows.json"  # the file that tells a saved folder from any other
#: What reading a damaged file of a saved folder can raise.
DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, pa.ArrowException)


@dataclass(frozen=True, eq=False, repr=False)
class SplitDataset:
    """Examples in named splits, as Arrow tables; immutable.

    Every split has ``label`` (int32 class id, -1 = unlabelled) and ``row`` (int64), and for texts ``text``
    (str) and, for pairs, ``text_pair`` (str); every other source column is kept under its own name.

    ``row`` is the number of the record in the source: the first record after the header is 0, refused records
    are counted too, blank lines are not. Where each split is a file (or a split of a data set), the numbering
    runs on through train, validation, test and then the others, so that a number names one record of the
    whole source.

    Attributes:
        splits: name → ``datasets.Dataset``; ``{"train": …}`` before splitting, else train, validation, test.
        report: what was refused, repaired or counted, by row number.
        source: arguments of ``lk.load`` that read these rows again: ``{"source": "reviews.csv", "text":
            "body"}``; ``source`` is "" for rows made in Python.
    """

    splits: dict[str, Dataset]
    schema: Spec  # what the columns mean; `spec` adds what is counted in the splits
    report: Report = field(default_factory=Report)
    source: dict[str, Any] = field(default_factory=lambda: {"source": ""})

    @cached_property
    def spec(self) -> Spec:
        """Columns, classes, counts for each split and class, lengths in characters."""
        return describe(self.schema, self.splits)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over split names, class names, texts and labels, in order, as 64 hexadecimal digits."""
        about = [
            self.schema.modality,
            self.schema.classes,
            *([self.schema.problem_type] if self.schema.problem_type != "class" else []),
            *([self.schema.mask_classes] if self.schema.mask_classes else []),
        ]
        whole = hashlib.sha256(json.dumps(about).encode())
        for name, dataset in self.splits.items():
            whole.update(json.dumps([name, len(dataset)]).encode())
            whole.update(numbers(dataset, "label", "<i4"))
            for part in text_columns(dataset):
                whole.update(_digest_text(dataset, part))
            rest = [name for name in dataset.column_names if name not in ("label", "row")]
            if self.schema.modality == "text":
                rest = [name for name in rest if name == "target"]
            whole.update(_digest_values(dataset, rest) if rest else b"")
        return whole.hexdigest()

    def with_splits(
        self, splits: Mapping[str, Dataset], notes: Report | Iterable[Note] = (), *, spec: Spec | None = None
    ) -> Self:
        """New rows with other splits and ``notes`` added to the report; counts and lengths are taken anew.

        Args:
            splits: name → dataset with the normalised columns (``label``, ``row`` and the texts).
            notes: what was done, a :class:`Report` or single notes.
            spec: another meaning of the columns or other classes; counts in it are not looked at.

        Raises:
            DataError: a split lacks a normalised column, or a label is not the id of a class.
        """
        schema = spec or self.schema
        check_splits(schema, splits)
        return type(self)(dict(splits), schema, self.report.merge(notes), self.source)

    def in_one_split(self) -> Self:
        """The rows of all splits, one after the other, in the split "train"."""
        from datasets import concatenate_datasets

        return self.with_splits({"train": concatenate_datasets(list(self.splits.values()))})

    def counts(self) -> dict[str, int]:
        """Split → rows."""
        return {name: len(dataset) for name, dataset in self.splits.items()}

    def head(self, n: int = 5, split: str | None = None) -> pd.DataFrame:
        """The first ``n`` rows for reading: class names for ids, long texts cut, hidden characters written
        out."""
        import pandas as pd

        dataset = self[split or next(iter(self.splits))]
        frame = pd.DataFrame(dataset.select(range(min(n, len(dataset)))).with_format(None).to_list())
        frame["label"] = self.known_of(dataset.select(range(len(frame))))
        frame = frame.drop(columns="target", errors="ignore")
        for name in frame.columns:
            frame[name] = [visible(value, 300) if isinstance(value, str) else value for value in frame[name]]
        first = [*text_columns(dataset), "label", "row"]
        return frame[[*first, *(name for name in frame.columns if name not in first)]]

    def known_of(self, dataset: Dataset) -> list[Any]:
        """The labels of the rows of a split (or part of it) as text; None for unlabelled rows."""
        dataset = dataset.with_format(None)
        targets = dataset["target"] if "target" in dataset.column_names else [None] * len(dataset)
        return [self._target(*line) for line in zip(dataset["label"], targets, strict=True)]

    def _target(self, label: int, target: Any) -> Any:
        """The label of a row as text: the name of its class, its labels, its number; None where nothing is."""
        if label < 0 or self.schema.problem_type == "class":
            return self.schema.classes[int(label)] if label >= 0 else None
        if self.schema.problem_type == "labels":
            return ", ".join(name for name, there in zip(self.schema.classes, target, strict=True) if there)
        return target[0] if len(target) == 1 else list(target)

    def save(self, folder: str | Path) -> Path:
        """Write an Arrow file for each split and ``rows.json`` into ``folder``, whole or not at all.

        Raises:
            DataError: ``folder`` holds something other than saved rows, or cannot be written.
        """
        folder = Path(folder)
        try:
            return self._save(folder)
        except OSError as error:
            raise DataError(
                _("{folder!r} is not writable: {reason}."), folder=str(folder), reason=os_reason(error)
            ) from error

    def _save(self, folder: Path) -> Path:
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file()):
            raise DataError(
                _("{folder!r} is not empty and contains no saved rows: choose a new folder."),
                folder=str(folder),
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            files = [f"{index}.arrow" for index in range(len(self.splits))]
            for name, dataset in zip(files, self.splits.values(), strict=True):
                write_arrow(fresh / name, dataset.features.arrow_schema, batches(dataset))
            about = {
                "version": 1,
                "splits": dict(zip(self.splits, files, strict=True)),
                "source": self.source,
            }
            about |= {
                "spec": self.spec.to_dict(),
                "report": self.report.to_dict(),
                "fingerprint": self.fingerprint,
            }
            (fresh / MARK).write_text(json.dumps(about), encoding="utf-8")
            if folder.exists():  # moved aside first: at no moment is there half of either
                os.replace(folder, aside := fresh.with_name(f"{fresh.name}.old"))
                os.replace(fresh, folder)
                shutil.rmtree(aside)
            else:
                os.replace(fresh, folder)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        return folder

    def __len__(self) -> int:
        return sum(self.counts().values())

    def __getitem__(self, split: str) -> Dataset:
        if split not in self.splits:
            known = ", ".join(self.splits)
            raise DataError(
                _("no split {split!r}.{hint} Available: {known}."),
                split=split, hint=nearest(str(split), self.splits), known=known,
            )  # fmt: skip
        return self.splits[split]

    def __repr__(self) -> str:
        return "\n".join([self._title(), *(f"  {line}" for line in self._facts())])

    def _title(self) -> str:
        return (
            f"{type(self).__name__}: {len(self):,} in {len(self.splits)} split{'s' * (len(self.splits) != 1)}"
        )

    def _facts(self) -> list[str]:
        spec = self.spec
        facts = []
        for name, dataset in self.splits.items():
            shown = {**spec.counts[name], **({"unlabelled": n} if (n := spec.unlabelled[name]) else {})}
            listed = ", ".join(f"{visible(key, 30)} {count:,}" for key, count in list(shown.items())[:12])
            facts.append(f"{name}: {len(dataset):,} ({listed}{', …' * (len(shown) > 12)})")
        for name, found in spec.lengths.items():
            facts.append(f"characters, {name}: {found.min:,} to {found.max:,}, median {found.median:,.0f}, "
                         f"95 % within {found.p95:,.0f}")  # fmt: skip
        facts.append(
            f"text: {visible(', '.join(spec.text)) or 'none'}; label: {visible(spec.label or 'none')}"
        )
        return [*facts, *repr(self.report).splitlines()]

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        frame = self.head()
        table = html.table(list(frame.columns), frame.itertuples(index=False))
        return {
            "text/plain": repr(self),
            "text/html": html.page(self._title(), html.listed(self._facts()), table),
        }


#: Rows of one class in, rows of the same class out.
Table = TypeVar("Table", bound=SplitDataset)


def write_arrow(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write tables to an Arrow stream file that ``datasets.Dataset.from_file`` maps into memory."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for table in tables:
            writer.write_table(table.cast(schema))


def _digest_text(dataset: Dataset, name: str) -> bytes:
    """SHA-256 of a column of texts, the same however the column is cut into chunks."""
    sizes, content = hashlib.sha256(), hashlib.sha256()
    for table in batches(dataset, [name]):
        texts = table.column(0).cast(pa.large_binary()).combine_chunks()
        sizes.update(np.asarray(pc.binary_length(texts)).astype("<i8").tobytes())
        offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
        if texts.buffers()[2] is not None:
            content.update(memoryview(texts.buffers()[2])[int(offsets[0]) : int(offsets[-1])])
    return sizes.digest() + content.digest()


def _digest_values(dataset: Dataset, names: list[str]) -> bytes:
    """SHA-256 of the rows as dicts, and of columns of pictures or sounds by themselves."""
    first = next(batches(dataset, names, 1), None)
    whole = [name for name in names if first is not None and large(first.column(name).chunk(0)) is not None]
    rest, whole_digest = [name for name in names if name not in whole], hashlib.sha256()
    keys = [repr(name).encode() for name in rest]
    for table in batches(dataset, rest) if rest or not whole else ():
        for values in zip(*map(contents, table.columns), strict=True):
            pairs = (b"%b: %b" % pair for pair in zip(keys, values, strict=True))
            whole_digest.update(b"{%b}" % b", ".join(pairs))
    for name in whole:
        own = digest(table.column(0) for table in batches(dataset, [name]))
        whole_digest.update(b"%b: %b" % (repr(name).encode(), own))
    return whole_digest.digest()
