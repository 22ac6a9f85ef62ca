"""Named samples: real models and data sets, downloaded on first use, verified and cached.

 ``folder("minilm-l6")`` is the way in. A sample is cached as a folder with its files and a ``sample.json``
(licence, source, SHA-256 of each member); the folder appears in one rename, so it is whole or absent, also
when a fetch is killed. Of several processes that want it at once, one fetches and the others wait.

Environment: ``LABKIT_SAMPLES`` names folders with package files that somebody downloaded before (tried first,
checked alike); ``LABKIT_OFFLINE=1`` forbids the network.
"""

from __future__ import annotations

import importlib.util
import json
import lzma
import os
import shutil
import sys
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labkit.core import html
from labkit.core.cache import cache_dir, cache_root, sha256_file
from labkit.core.errors import SampleError, nearest
from labkit.core.frontend import is_attended
from labkit.core.safety import offline
from labkit.hub import catalog_pictures, catalog_tables
from labkit.hub.catalog import TABLE, Sample
from labkit.hub.download import Cancelled, Carrier, Report, Several, Source, check_cancelled
from labkit.i18n import _, joined

Progress = Callable[[int, int], None] | bool | None
_UNREADABLE = (EOFError, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, zlib.error)
_FAILURES = (SampleError, OSError, ImportError, *_UNREADABLE)


class Samples(dict[str, Sample]):
    """The table of samples by name; a notebook shows it as a table, with what is cached."""

    def __missing__(self, name: str) -> Sample:
        raise SampleError(
            _("unknown sample {name!r}.{hint} Known: {known}."),
            name=name, hint=nearest(name, self), known=", ".join(self),
        )  # fmt: skip

    def __repr__(self) -> str:
        rows = [_HEAD, *_cells()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)

    def _repr_html_(self) -> str:
        return html.table(_HEAD, _cells())


SAMPLES = samples = Samples(
    {sample.name: sample for sample in (*TABLE, *catalog_tables.TABLE, *catalog_pictures.TABLE)}
)
_HEAD = ("name", "kind", "size", "cached", "licence", "source", "what it is")


def folder(name: str, progress: Progress = None) -> Path:
    """The folder with a sample's members, fetched and verified when the cache lacks it.

    Args:
        name: a key of :data:`SAMPLES`.
        progress: None shows a bar where somebody can see it, True always, False never; a function is called
            with (bytes that arrived, bytes in all), from a thread of the download.

    Raises:
        SampleError: unknown name; or no source gave the sample: each is listed with its reason.
    """
    sample = SAMPLES[name]
    if not is_cached(name):
        with _locked(sample):
            if not is_cached(name):  # another process may just have done it
                fill_sample(sample, progress)
    return place_of(sample)


def is_cached(name: str) -> bool:
    """Whether a sample is in the cache with the expected files and sizes."""
    sample = SAMPLES[name]
    place = cache_root() / "samples" / sample.name
    try:
        record = json.loads((place / "sample.json").read_text(encoding="utf-8"))
        sizes = {target: (place / target).stat().st_size for target in sample.members}
    except (OSError, ValueError):
        return False
    hashes = {target: member.sha256 for target, member in sample.members.items()}
    return record.get("members") == hashes and all(sizes[t] == m.size for t, m in sample.members.items())


def verify(name: str, progress: Progress = None) -> list[str]:
    """Hash every member in the cache; when some are damaged, fetch the sample again and return their names."""
    place = folder(name, progress)
    damaged = _damaged(SAMPLES[name], place)
    if damaged:
        (place / "sample.json").unlink()
        folder(name, progress)
    return damaged


def describe() -> list[dict[str, Any]]:
    """A dict for each sample: name, kind, size (bytes), cached, licence, origin, sources (labels), about."""
    keys = ("name", "kind", "size", "licence", "origin", "about")
    return [
        {key: getattr(sample, key) for key in keys}
        | {"cached": is_cached(sample.name), "sources": [source.label for source in sample.sources]}
        for sample in SAMPLES.values()
    ]


def _cells() -> Iterator[tuple[str, ...]]:
    for row in describe():
        size, cached = _megabytes(row["size"]), "yes" if row["cached"] else "no"
        yield row["name"], row["kind"], size, cached, row["licence"], row["sources"][0], row["about"]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def place_of(sample: Sample) -> Path:
    """The folder in the cache that holds a sample."""
    return cache_root() / "samples" / sample.name


def fill_sample(sample: Sample, progress: Progress) -> None:
    """Try the sources in order until one gives all members; the caller holds the lock."""
    place, reasons = place_of(sample), list[str]()
    for left in place.parent.glob(f".{sample.name}-*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    for source, mirror in _ways(sample, reasons):
        check_cancelled()
        work = Path(tempfile.mkdtemp(prefix=f".{sample.name}-", dir=place.parent))
        try:
            complete = _gather(sample, source, mirror, work, progress)
            if place.exists():  # damaged, or of an older table
                os.replace(place, work / "old")
            os.replace(complete, place)
            return
        except Cancelled:
            raise
        except _FAILURES as error:
            where = mirror / " + ".join(source.files) if mirror else source.label
            reasons.append(_("{source}: {error}", source=where, error=error))
        finally:
            shutil.rmtree(work, ignore_errors=True)
    listed = joined("\n", [_("  - {reason}", reason=reason) for reason in reasons])
    raise SampleError(
        _(
            "sample {sample!r} ({size}) is not in the cache, and all sources failed:\n{listed}\nWith a "
            "network connection, download it with: labkit samples fetch {sample}"),
        sample=sample.name, size=_megabytes(sample.size), listed=listed,
    )  # fmt: skip


def _gather(sample: Sample, source: Source, mirror: Path | None, work: Path, progress: Progress) -> Path:
    """Make the finished, verified folder of a sample inside ``work``."""
    into = work / "members"
    into.mkdir()
    if source.needs and importlib.util.find_spec(source.needs) is None:
        raise SampleError(
            _("the package {needs} is needed for the conversion: pip install 'labkit[convert]'"),
            needs=source.needs,
        )
    if isinstance(source, Carrier | Several) and mirror:
        source.unpack(mirror, into, sample.members)
    else:
        with _reporting(progress, f"{sample.name} from {source.label}") as report:
            source.collect(work, into, sample.members, report)
    if source.finish:
        source.finish(into)
    shutil.rmtree(into / "raw", ignore_errors=True)
    if damaged := _damaged(sample, into):
        raise SampleError(_("not the expected content: {damaged}"), damaged=", ".join(damaged))
    record = {
        "name": sample.name,
        "licence": sample.licence,
        "origin": sample.origin,
        "source": source.label,
        "members": {target: member.sha256 for target, member in sample.members.items()},
    }
    (into / "sample.json").write_text(
        json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return into


def _ways(sample: Sample, reasons: list[str]) -> Iterator[tuple[Source, Path | None]]:
    """What to try, in order: folders of LABKIT_SAMPLES with all files of a source, then the sources
    themselves."""
    known = [source for source in sample.sources if source.files]
    for name in filter(None, os.environ.get("LABKIT_SAMPLES", "").split(os.pathsep)):
        mirror = Path(name).expanduser()
        found = [
            (source, mirror) for source in known if all((mirror / file).is_file() for file in source.files)
        ]
        if known and not found:
            wanted = " or ".join(" and ".join(source.files) for source in known)
            reasons.append(_("{folder} (LABKIT_SAMPLES): {files} not found", folder=name, files=wanted))
        yield from found
    for source in sample.sources:
        if source.network and offline():
            reasons.append(_("{source}: not tried, LABKIT_OFFLINE is set", source=source.label))
        else:
            yield source, None


def _damaged(sample: Sample, place: Path) -> list[str]:
    """The members that are absent from a folder or differ from the table."""
    return [
        target
        for target, member in sample.members.items()
        if not (place / target).is_file() or sha256_file(place / target) != member.sha256
    ]


@contextmanager
def _locked(sample: Sample) -> Iterator[None]:
    """Let one process or thread at a time fill a sample; the lock goes with its process, however that ends."""
    try:
        with open(cache_dir("samples") / f".{sample.name}.lock", "a") as file:
            lock_file(file.fileno())
            yield
    except PermissionError as error:
        raise SampleError(
            _("the cache is not writable: {error}. Set LABKIT_CACHE to another folder."), error=error
        ) from error


if sys.platform == "win32":
    import msvcrt

    def lock_file(handle: int) -> None:
        while True:
            try:
                return msvcrt.locking(handle, msvcrt.LK_LOCK, 1)  # gives up after ten seconds
            except OSError:
                continue
else:
    import fcntl

    def lock_file(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX)


@contextmanager
def _reporting(progress: Progress, title: str) -> Iterator[Report]:
    if callable(progress):
        yield progress
        return
    if progress is False or (progress is None and not _somebody_sees()):
        yield lambda done, total: None
        return
    from tqdm import tqdm

    with tqdm(desc=title, unit="B", unit_scale=True, leave=False, file=sys.stderr) as bar:

        def report(done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.refresh()

        yield report


def _somebody_sees() -> bool:
    """A terminal, or a notebook that is not run unattended; what a thread writes would stand below any cell."""
    if threading.current_thread() is not threading.main_thread():
        return False
    return sys.stderr.isatty() or is_attended()
