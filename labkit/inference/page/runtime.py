"""Files of onnxruntime-web: from a folder, an archive of npm, or the user's npm, and checked by their SHA-256."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from labkit.core.cache import cache_dir, write_atomic
from labkit.core.errors import ConfigError
from labkit.i18n import _

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
#: The script, with what loads the program inside, and the program: file → SHA-256.
SCRIPT, PROGRAM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
FILES = {
    SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    PROGRAM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
#: Seconds that npm may take.
PATIENCE = 600


def runtime_files(source: str | Path = "") -> dict[str, bytes]:
    """The files of :data:`FILES`.

    Args:
        source: a folder that contains them (also an unpacked package), or the archive that ``npm pack`` makes; ""
            takes them from labkit's cache, to which ``npm pack`` brings them once.

    Raises:
        ConfigError: a file is missing or is another one; npm is not there or fails.
    """
    if source:
        place = Path(source).expanduser()
        return _of_archive(place) if place.is_file() else _of_folder(place)
    kept = cache_dir(PACKAGE) / VERSION
    if not all((kept / name).exists() for name in FILES):
        found = _of_npm()
        kept.mkdir(parents=True, exist_ok=True)
        for name, content in found.items():
            write_atomic(kept / name, content)
    return _of_folder(kept)


def _of_folder(folder: Path) -> dict[str, bytes]:
    found = {}
    for name in FILES:
        places = [folder / name, folder / "dist" / name, folder / "package" / "dist" / name]
        place = next((each for each in places if each.is_file()), None)
        if place is None:
            raise ConfigError(
                _("{folder!r} has no {name}; give the folder of the npm package {package} {version}, or its .tgz."),
                folder=str(folder), name=name, package=PACKAGE, version=VERSION,
            )  # fmt: skip
        found[name] = place.read_bytes()
    return _checked(found)


def _of_archive(archive: Path) -> dict[str, bytes]:
    found = {}
    try:
        with tarfile.open(archive, "r:gz") as package:
            for name in FILES:
                content = package.extractfile(f"package/dist/{name}")
                assert content is not None, "a file"
                found[name] = content.read()
    except (tarfile.TarError, KeyError, OSError, EOFError, AssertionError) as error:
        raise ConfigError(
            _("{file!r} is not the archive of the npm package {package} {version}: {error!r}."),
            file=archive.name, package=PACKAGE, version=VERSION, error=error,
        ) from None  # fmt: skip
    return _checked(found)


def _of_npm() -> dict[str, bytes]:
    command = shutil.which("npm")
    remedy = _("Install Node.js, or give web=, the folder or .tgz of the npm package {package} {version}.",
               package=PACKAGE, version=VERSION)  # fmt: skip
    if command is None:
        raise ConfigError(
            _("the page needs npm to fetch {package}. {remedy}"), package=PACKAGE, remedy=remedy
        )
    with tempfile.TemporaryDirectory() as work:
        call = [command, "pack", "--ignore-scripts", f"{PACKAGE}@{VERSION}"]
        try:
            done = subprocess.run(
                call, cwd=work, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            said = done.stderr.strip().splitlines()[-1:] if done.returncode else []
        except (OSError, subprocess.TimeoutExpired) as error:
            said = [str(error)]
        archives = list(Path(work).glob("*.tgz"))
        if said or not archives:
            raise ConfigError(
                _("npm pack {package} failed: {said}. {remedy}"),
                package=PACKAGE,
                said=" ".join(said),
                remedy=remedy,
            )
        return _of_archive(archives[0])


def _checked(found: dict[str, bytes]) -> dict[str, bytes]:
    for name, content in found.items():
        if (digest := hashlib.sha256(content).hexdigest()) != FILES[name]:
            raise ConfigError(
                _("{name} is not that of {package} {version}: its SHA-256 is {digest}, expected {wanted}."),
                name=name, package=PACKAGE, version=VERSION, digest=digest, wanted=FILES[name],
            )  # fmt: skip
    return found
