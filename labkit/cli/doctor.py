"""``labkit doctor``: checks of hardware and installation, with a remedy for each problem.

 Every check is a function that returns findings and never raises. JAX is queried in a separate process, so
that a hanging or crashing driver becomes a line of the report.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from labkit.cli.options import AsJson, say
from labkit.core.extras import EXTRAS, has

if TYPE_CHECKING:
    from packaging.requirements import Requirement

State = Literal["ok", "warning", "broken"]
MARKS = {"ok": "✓", "warning": "!", "broken": "✗"}
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
#: Front-end parts that JupyterLab must find: folder below ``labextensions`` → the package that brings it.
EXTENSIONS = {
    "@jupyter-widgets/jupyterlab-manager": "jupyterlab_widgets",
    "anywidget": "anywidget",
    "jupyterlab-plotly": "plotly",
}
#: Packages whose versions the report shows.
SHOWN = ("jax", "flax", "optax", "datasets", "tokenizers")
#: Seconds JAX may take to find its devices and compile one sum.
PATIENCE = 120

ASK_JAX = """
import json, jax
devices = [dict(kind=d.device_kind, platform=d.platform, memory=(d.memory_stats() or {}).get("bytes_limit"))
           for d in jax.local_devices()]
total = float(jax.jit(lambda x: x.sum())(jax.numpy.ones((8, 8))))
print("\\n" + json.dumps(dict(devices=devices, total=total)))
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report: ``state`` is ok, warning or broken; ``cure`` says what to do about the last
    two."""

    name: str
    state: State
    text: str
    cure: str = ""

    def __str__(self) -> str:
        line = f"{MARKS[self.state]} {self.name:<12} {self.text}"
        return f"{line}\n{'':<15}→ {self.cure}" if self.cure else line


def examine() -> list[Finding]:
    """Run every check, in the order of the report; a check that itself fails is a broken line."""
    findings: list[Finding] = []
    for check in CHECKS:
        name = check.__name__.removeprefix("check_")
        try:
            findings += check()
        except Exception as error:
            findings.append(
                Finding(name, "broken", f"the check failed: {error!r}", "Report this line as a bug.")
            )
    return findings


def report(findings: list[Finding]) -> str:
    """The findings as text, one per line, with a summary at the end."""
    broken = sum(finding.state == "broken" for finding in findings)
    warnings = sum(finding.state == "warning" for finding in findings)
    end = "Everything works." if not broken + warnings else f"{broken} broken, {warnings} to look at."
    return "\n".join([*map(str, findings), "", end])


def to_json(findings: list[Finding]) -> str:
    """The findings as a JSON list of objects with name, state, text and cure."""
    return json.dumps([asdict(finding) for finding in findings], indent=1, ensure_ascii=False)


def check_system() -> Iterator[Finding]:
    """Python, the operating system and labkit."""
    import labkit

    text = f"labkit {labkit.__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding("system", "ok", f"{text}, {os.cpu_count()} processors")


def check_packages() -> Iterator[Finding]:
    """Every requirement of labkit and of its extras against what is installed. A missing extra is no fault."""
    versions, installed, missing = {}, [], []
    wanted = requirements()
    for extra in ("", *EXTRAS):
        listed = wanted.get(extra, [])
        absent = [each for each in listed if version_of(each.name) is None]
        if extra:
            (missing if absent else installed).append(extra)
        for each in listed:
            found = version_of(each.name)
            cure = f'python -m pip install "{each.name}{each.specifier}"'
            if found is None and not extra:
                yield Finding(each.name, "broken", "is not installed", cure)
            elif found is not None and not each.specifier.contains(found, prereleases=True):
                yield Finding(
                    each.name, "broken", f"{found} is installed; labkit needs {each.specifier}", cure
                )
            elif found is not None:
                versions[each.name] = found
    shown = [f"{name} {versions[name]}" for name in SHOWN if name in versions]
    yield Finding("packages", "ok", f"{', '.join(shown)}; {len(versions)} requirements met")
    text = f"installed: {', '.join(installed) or 'none'}"
    if missing:
        text += f"; not installed: {', '.join(missing)} (python -m pip install 'labkit[{missing[0]}]')"
    yield Finding("extras", "ok", text)


def check_devices() -> Iterator[Finding]:
    """What JAX computes on, proven by one compiled sum."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", ASK_JAX], capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        text = f"JAX found no device within {PATIENCE} s"
        yield Finding("devices", "broken", text, "Set JAX_PLATFORMS=cpu to go on without it.")
        return
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        yield Finding(
            "devices", "broken", f"JAX does not work: {last}", "python -m pip install --upgrade jax jaxlib"
        )
        return
    devices = json.loads(done.stdout.strip().splitlines()[-1])["devices"]
    told = [d["kind"] + (f" ({size(d['memory'])})" if d["memory"] else "") for d in devices]
    if all(d["platform"] == "cpu" for d in devices) and shutil.which("nvidia-smi"):
        cure = 'python -m pip install "jax[cuda13]" (or set JAX_PLATFORMS, if cpu was your choice)'
        yield Finding(
            "devices", "warning", "an NVIDIA driver is here, but JAX computes on the processor", cure
        )
    else:
        yield Finding("devices", "ok", f"JAX computes on {len(devices)}: {', '.join(told)}")


def check_memory() -> Iterator[Finding]:
    """Memory that this process may use: of the machine, or of its container where that is less."""
    import psutil

    from labkit.core.huge_pages import huge_pages

    memory = psutil.virtual_memory()
    total, free = memory.total, memory.available
    if limit := _container_limit():
        total, free = min(total, limit), min(free, limit)
    text = f"{size(free)} of {size(total)} free"
    if free < 2e9:
        yield Finding(
            "memory", "warning", text, "Fine-tuning wants 2 GB: close other kernels, or use a smaller batch."
        )
    else:
        yield Finding("memory", "ok", text)
    told = {
        "on": "in huge pages",
        "off": "in huge pages under `labkit lab`, `labkit train` and in detached runs; not in this process",
        "never": "the system gives no huge pages: steps on the processor may be a quarter slower",
    }
    if (mode := huge_pages()) in told:
        yield Finding("pages", "ok", told[mode])


def check_cache() -> Iterator[Finding]:
    """The cache: only its owner may read it, because compiled programs in it are native code."""
    from labkit.core.cache import cache_dir, cache_root

    root = cache_root()
    try:
        cache_dir()
        probe = root / f".probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        yield Finding(
            "cache",
            "broken",
            f"{root}: {error.strerror or error}",
            "Set LABKIT_CACHE to a folder you can write.",
        )
        return
    disk = shutil.disk_usage(root)
    text = f"{root}: {size(_weight(root))}, of it {size(_weight(root / 'compiled'))} compiled programs"
    state, problem = _privacy(root)
    cure = f"chmod 700 {root}, or set LABKIT_CACHE to a folder of your own" if state != "ok" else ""
    yield Finding("cache", state, text + problem, cure)
    if disk.free < 2e9:
        cure = f"Free some space, or move the cache with LABKIT_CACHE; {root} itself may be deleted."
        yield Finding("disk", "warning", f"{size(disk.free)} free", cure)
    else:
        yield Finding("disk", "ok", f"{size(disk.free)} of {size(disk.total)} free")


def check_jupyter() -> Iterator[Finding]:
    """The parts of JupyterLab that draw widgets and figures, and whether anything switches them off."""
    if not has("lab"):
        return
    from jupyter_core.paths import jupyter_path

    folders = [Path(folder) for folder in jupyter_path("labextensions")]
    missing = [
        name
        for name in EXTENSIONS
        if not any((folder / name / "package.json").is_file() for folder in folders)
    ]
    for name in missing:
        cure = f"python -m pip install --force-reinstall --no-deps {EXTENSIONS[name]}"
        yield Finding("jupyterlab", "broken", f"the extension {name} is missing: panels stay empty", cure)
    if not missing:
        names = ("jupyterlab", "jupyter_server", "ipykernel", "ipywidgets", "anywidget", "plotly")
        told = [f"{name} {version_of(name)}" for name in names]
        yield Finding("jupyterlab", "ok", f"{', '.join(told)}; extensions {', '.join(EXTENSIONS)}")


def check_chromium() -> Iterator[Finding]:
    """The browser of the tests; nothing else needs it."""
    if found := next(filter(None, map(shutil.which, CHROMIUM)), None):
        yield Finding("chromium", "ok", f"{found} (for the browser tests)")
    else:
        cure = "Only for labkit's own tests: install chromium with the system's package manager."
        yield Finding("chromium", "warning", "not found: the browser tests will be skipped", cure)


def check_samples() -> Iterator[Finding]:
    """The samples in the cache, and those that are fetched on first use."""
    from labkit.hub.samples import SAMPLES, is_cached

    here = [name for name in SAMPLES if is_cached(name)]
    away = [name for name in SAMPLES if name not in here]
    text = f"cached: {', '.join(here) or 'none'}" + (
        f"; fetched on first use: {', '.join(away)}" if away else ""
    )
    yield Finding("samples", "ok", text)


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    check_system, check_packages, check_devices, check_memory,
    check_cache, check_jupyter, check_samples, check_chromium,
)  # fmt: skip


def requirements() -> dict[str, list[Requirement]]:
    """The requirements of labkit ("") and of each extra: of the checkout it runs from, or of the installed
    package."""
    from packaging.requirements import Requirement

    declared = Path(__file__).parents[2] / "pyproject.toml"
    project = tomllib.loads(declared.read_text("utf-8")).get("project", {}) if declared.is_file() else {}
    if project.get("name") == "labkit":
        lines = {"": project["dependencies"], **project["optional-dependencies"]}
        found = {extra: list(map(Requirement, listed)) for extra, listed in lines.items()}
    else:
        metadata = importlib.metadata.metadata("labkit")
        every = [Requirement(line) for line in metadata.get_all("Requires-Dist") or []]
        plain = [each for each in every if "extra ==" not in str(each.marker)]
        extras = metadata.get_all("Provides-Extra") or []
        found = {"": plain} | {
            extra: [e for e in every if e not in plain and _holds(e, extra)] for extra in extras
        }
    return {
        extra: [each for each in listed if each.name != "labkit" and _holds(each, extra)]
        for extra, listed in found.items()
    }


def _holds(wanted: Requirement, extra: str) -> bool:
    return wanted.marker is None or wanted.marker.evaluate({"extra": extra})


def size(count: float) -> str:
    """A number of bytes for people: ``1.5 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def version_of(name: str) -> str | None:
    """The version of an installed package; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _container_limit() -> int | None:
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        path = Path(name)
        if path.is_file() and (text := path.read_text().strip()).isdigit():
            return int(text)
    return None


def _weight(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _privacy(root: Path) -> tuple[State, str]:
    """Whether others can put programs into the cache (broken), or read it (a warning)."""
    if os.name != "posix":
        return "ok", ""
    status = root.stat()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != os.getuid():
        return "broken", "; it belongs to another user"
    if mode & 0o022:
        return "broken", f"; others can write it (mode {mode:o})"
    return (
        ("warning", f"; others can read it (mode {mode:o})") if mode & 0o055 else ("ok", f"; mode {mode:o}")
    )


def doctor(as_json: AsJson = False) -> None:
    """Check the installation: hardware, packages, problems and how to fix them."""
    findings = examine()
    say(to_json(findings) if as_json else report(findings))
    raise typer.Exit(int(any(finding.state == "broken" for finding in findings)))
