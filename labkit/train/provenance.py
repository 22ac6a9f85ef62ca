"""Provenance of a checkpoint: run and session, experiment, data, and the conditions of bitwise
reproducibility.

 A session is one start of a run. Each checkpoint names its session and the sessions before it;
``sessions.json`` in the run folder names those whose checkpoints the run accepts. A copied lab folder that is
resumed starts new sessions, which distinguishes its checkpoints although run id, experiment and data are
equal.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import jax

from labkit.core import plugins
from labkit.core.cache import fingerprint, write_atomic
from labkit.core.config import dumps, loads
from labkit.core.errors import LabkitError
from labkit.data.io.load import open_rows
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _, joined, plain, revive
from labkit.profile.compiler import compiler_options
from labkit.profile.hardware import cores, processor
from labkit.train.experiment import Experiment
from labkit.train.process_group import ProcessGroup
from labkit.train.step import ARITHMETIC

NAME = "sessions.json"
#: Facts of a manifest that only checkpoints of this version or later have, and their types.
FACTS: dict[str, type] = {
    "run": str, "session": str, "sessions": list, "experiment": str, "parts": int, "rows": str, "tokenizer": str,
    "conditions": dict,
}  # fmt: skip
#: Settings that say where and how safely a run is worked on; its numbers do not depend on them, up to
#: rounding.
_PLACES = (
    "devices",
    "model_parallel",
    "sharded",
    "save_minutes",
    "on_checkpoint_failure",
    "watchdog",
    "profile",
)
_VERSIONS = ("labkit", "jax", "jaxlib", "flax", "optax", "numpy", "tokenizers")
#: Options of JAX that change bits.
_OPTIONS = (
    "jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl", "jax_threefry_partitionable",
    "jax_random_seed_offset", "jax_disable_jit", "jax_disable_most_optimizations", "jax_optimization_level",
    "jax_exec_time_optimization_effort",
)  # fmt: skip
#: Flags of XLA that change none, or that set the number of devices, which is a condition of its own.
_HARMLESS = re.compile(r"xla_(dump_.*|force_host_platform_device_count)")
#: Differences that one sentence names.
SHOWN = 3


@dataclass(frozen=True)
class Session:
    """One start of a run: the step it began at, and its warning, empty where there is none."""

    id: str
    start: int
    note: str = ""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """A session as JSON holds it. Raises TypeError or KeyError for anything else."""
        found = cls(values["id"], values["start"], revive(values["note"]))
        if (
            not isinstance(found.start, int)
            or not isinstance(found.id, str)
            or not isinstance(found.note, str)
        ):
            raise TypeError(f"{values!r} is no session")
        return found

    def to_json(self) -> dict[str, Any]:
        """The session as JSON holds it."""
        return {"id": self.id, "start": self.start, "note": plain(self.note)}


@dataclass
class Provenance:
    """What the checkpoints of a run must agree with, and what new ones are sealed with.

    Attributes:
        folder: of the run.
        run: its id.
        experiment: its settings.
        parts: what its batches are divisible into.
        rows, tokenizer: fingerprints of the data.
        conditions: hardware, software and compiler options, see :func:`conditions`.
        sessions: those whose checkpoints belong to this run, in order; after :meth:`begin` the last one is
        this.
        problem: why ``sessions.json`` could not be read, empty where it was.
    """

    folder: Path
    run: str
    experiment: Experiment
    parts: int
    rows: str
    tokenizer: str
    conditions: dict[str, str | int]
    sessions: list[Session] = field(init=False)
    problem: str = field(init=False)
    _entered: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.sessions, self.problem = _read(self.folder / NAME)

    @classmethod
    def of(
        cls,
        folder: Path,
        run: str,
        experiment: Experiment,
        summary: Mapping[str, Any],
        tokenizer: Tokenizer | None,
        group: ProcessGroup,
    ) -> Self:
        """The provenance of a prepared run; ``summary`` is that of its plan. All processes of ``group``
        must call it: the leading process hashes the rows, the others receive the result.

        Raises:
            DataError: the rows of the run are damaged.
        """
        rows = group.broadcast(open_rows(folder / "data").fingerprint if group.lead else None)
        read = tokenizer.fingerprint if tokenizer is not None else ""
        return cls(folder, run, experiment, summary["parts"], rows, read, conditions(experiment, summary))

    def facts(self) -> dict[str, Any]:
        """What a checkpoint is sealed with."""
        return {
            "run": self.run,
            "session": self.sessions[-1].id,
            "sessions": [session.to_json() for session in self.sessions],
            "experiment": dumps(self.experiment),
            "parts": self.parts,
            "rows": self.rows,
            "tokenizer": self.tokenizer,
            "conditions": self.conditions,
        }

    def mismatch(self, facts: Mapping[str, Any], step: int) -> str:
        """Why a checkpoint of ``step``, sealed with ``facts``, does not belong to the run; empty where it
        does."""
        if lacking := [name for name, kind in FACTS.items() if not isinstance(facts.get(name), kind)]:
            return _(
                "its manifest lacks {lacking}: it was written by another version of labkit",
                lacking=", ".join(lacking),
            )
        try:
            before = [Session.of(values) for values in facts["sessions"]]
        except (TypeError, KeyError):
            before = []
        if not before or before[-1].id != facts["session"]:
            return _("its manifest lists no sessions")
        return self._foreign(facts, step) or self._changed(facts)

    def _foreign(self, facts: Mapping[str, Any], step: int) -> str:
        """Why a checkpoint is none of this run's; empty where it is one."""
        known = [session.id for session in self.sessions]
        if facts["session"] not in known:
            if facts["run"] != self.run:
                return _("it belongs to run {run!r}", run=facts["run"][:100])
            return _("it was written by another copy of this run") if known else ""
        place = known.index(facts["session"])
        for later in self.sessions[place + 1 : place + 2]:
            if step > later.start:
                return _("the run was resumed from step {start} and replaced it", start=later.start)
        return ""

    def _changed(self, facts: Mapping[str, Any]) -> str:
        """What of the run differs from when a checkpoint was saved; empty where nothing does."""
        sealed = here = settings_of(self.experiment)
        if facts["experiment"] != dumps(self.experiment):
            try:
                sealed = settings_of(loads(Experiment, facts["experiment"]))
            except LabkitError as error:
                return _("its experiment cannot be read: {error}", error=error)
        if differ := differences(sealed | {"parts": facts["parts"]}, here | {"parts": self.parts}):
            return _("the experiment of the run differs ({listed})", listed=listed(differ, SHOWN))
        if facts["rows"] != self.rows:
            return _("the rows of the run differ from those it was trained on")
        if facts["tokenizer"] != self.tokenizer:
            return _("the tokenizer of the run differs from the one it was trained with")
        return ""

    def begin(self, step: int, facts: Mapping[str, Any] | None) -> None:
        """Begin a session at ``step``, after the checkpoint sealed with ``facts``; None: without one."""
        before, notes = [], []
        if facts is not None:
            before = [Session.of(values) for values in facts["sessions"]]
            if differ := differences(facts["conditions"], self.conditions):
                notes.append(
                    _(
                        "Not bitwise reproducible: resumed at step {step} under different conditions "
                        "({listed}). From this step on, results can differ from those of an "
                        "uninterrupted run.",
                        step=step,
                        listed=listed(differ, len(differ)),
                    )
                )
            if self.problem:
                notes.append(
                    _(
                        "The sessions of the run are taken from the checkpoint of step {step}: {problem}.",
                        step=step,
                        problem=self.problem,
                    )
                )
        self.sessions = [*before, Session(secrets.token_hex(16), step, joined(" ", notes))]
        self._entered = False

    @property
    def notes(self) -> list[str]:
        """Warnings of this session and of those before it."""
        return [session.note for session in self.sessions if session.note]

    def enter(self) -> None:
        """Name the sessions in the run folder, before the first checkpoint of this one is there."""
        if self._entered:
            return
        content = {"sessions": [session.to_json() for session in self.sessions]}
        write_atomic(
            self.folder / NAME, json.dumps({**content, "seal": fingerprint(content)}, indent=1) + "\n"
        )
        self._entered = True


def _read(path: Path) -> tuple[list[Session], str]:
    """The sessions that a file names, and what is wrong with it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("seal") != fingerprint(content):
            raise ValueError
        return [Session.of(values) for values in content["sessions"]], ""
    except FileNotFoundError:
        return [], _("{name} is missing", name=NAME)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return [], _("{name} is damaged", name=NAME)


def settings_of(experiment: Experiment) -> dict[str, Any]:
    """Name → value of every setting that the numbers of a run depend on, the names joined by dots."""
    values = tomllib.loads(dumps(experiment))
    values.pop("name", None)
    for name in _PLACES:
        values.get("train", {}).pop(name, None)
    return _flat(values)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def conditions(experiment: Experiment, summary: Mapping[str, Any]) -> dict[str, str | int]:
    """What the last bits of a run's numbers depend on besides its experiment and data, name → value.

    Args:
        experiment: of the run.
        summary: of its plan, with ``devices`` and ``precision``.
    """
    device = jax.devices()[0]
    found: dict[str, str | int] = {
        "platform": device.platform,
        "processor": processor(device),
        "devices": int(summary["devices"]),
        "model_parallel": experiment.train.model_parallel,
        "sharded": str(experiment.train.sharded),
        "precision": str(summary["precision"]),
        "arithmetic": ARITHMETIC,
    }
    if device.platform == "cpu":
        found["CPU threads"] = _threads()
    else:
        found["driver"] = " ".join(device.client.platform_version.split())
    for package in _VERSIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    found |= {name: str(jax.config.values[name]) for name in _OPTIONS if name in jax.config.values}
    for module, file in plugins.files_of(experiment.plugins).items():
        found[f"plugin {module}"] = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    found |= {name: str(value) for name, value in compiler_options().items()}
    for flag in os.environ.get("XLA_FLAGS", "").split():
        name, _, value = flag.lstrip("-").partition("=")
        if not _HARMLESS.fullmatch(name):
            found[name] = value or "true"
    return found


def _threads() -> int:
    """Threads in XLA's pool: by the variables that it reads, else one a core that this process may use."""
    named = (os.environ.get(name, "") for name in ("PJRT_NPROC", "NPROC"))
    return next((int(text) for text in named if text.isdecimal()), cores())


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Old and new value of every entry that differs, such as "CPU threads 4 → 1"."""
    names = [*new, *(name for name in old if name not in new)]
    return [
        f"{name} {_shown(old, name)} → {_shown(new, name)}"
        for name in names
        if name not in old or name not in new or old[name] != new[name]
    ]


def _shown(values: Mapping[str, Any], name: str) -> str:
    return str(values[name])[:100] if name in values else "unset"


def listed(differ: list[str], most: int) -> str:
    """Differences as part of a sentence, ``most`` of them at most."""
    more = f" and {len(differ) - most} more" if len(differ) > most else ""
    return "; ".join(differ[:most]) + more
