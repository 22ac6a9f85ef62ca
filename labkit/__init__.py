"""labkit: from a table of texts to a fine-tuned BERT, live in JupyterLab, with JAX.

>>> import labkit as lk
>>> rows = lk.load("movie-reviews")
>>> run = lk.fit(rows, lk.models["bert"](preset="minilm-l6"), epochs=2)

Every name is imported when it is first used, so that ``import labkit`` loads neither JAX nor widgets.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

import labkit.models
import labkit.tasks

if TYPE_CHECKING:
    import labkit.panels as panels
    from labkit.base.errors import LabkitError
    from labkit.base.registry import Registry
    from labkit.base.samples import SAMPLES as samples
    from labkit.data.batch import Batches, BucketBatches, choose_buckets
    from labkit.data.clean import Pipeline
    from labkit.data.rows import Rows
    from labkit.data.source import load
    from labkit.data.split import leakage
    from labkit.data.text import Tokenizer
    from labkit.data.tokens import encode
    from labkit.judge.report import Report
    from labkit.judge.sizing import right_size
    from labkit.judge.thresholds import Thresholds
    from labkit.lab import fit, open_run, runs, serve
    from labkit.lesson import check, scale
    from labkit.models import models
    from labkit.panels.lab import Lab
    from labkit.panels.still import picture
    from labkit.panels.words import choose as language
    from labkit.planning import estimate, find_rate, largest_batch, plot_schedule
    from labkit.ship.embedder import Embedder
    from labkit.ship.filler import Filler
    from labkit.ship.generator import Generator
    from labkit.ship.judging import compare
    from labkit.ship.predictor import Predictor
    from labkit.tasks import tasks
    from labkit.train.optim import Optimizer

__version__ = "0.1.0"

_HOMES = {
    "load": "labkit.data.source:load",
    "Rows": "labkit.data.rows:Rows",
    "samples": "labkit.base.samples:SAMPLES",
    "Pipeline": "labkit.data.clean:Pipeline",
    "leakage": "labkit.data.split:leakage",
    "Tokenizer": "labkit.data.text:Tokenizer",
    "encode": "labkit.data.tokens:encode",
    "Batches": "labkit.data.batch:Batches",
    "BucketBatches": "labkit.data.batch:BucketBatches",
    "choose_buckets": "labkit.data.batch:choose_buckets",
    "estimate": "labkit.planning:estimate",
    "largest_batch": "labkit.planning:largest_batch",
    "find_rate": "labkit.planning:find_rate",
    "plot_schedule": "labkit.planning:plot_schedule",
    "fit": "labkit.lab:fit",
    "runs": "labkit.lab:runs",
    "open_run": "labkit.lab:open_run",
    "serve": "labkit.lab:serve",
    "compare": "labkit.ship.judging:compare",
    "Report": "labkit.judge.report:Report",
    "right_size": "labkit.judge.sizing:right_size",
    "Thresholds": "labkit.judge.thresholds:Thresholds",
    "Generator": "labkit.ship.generator:Generator",
    "Embedder": "labkit.ship.embedder:Embedder",
    "Filler": "labkit.ship.filler:Filler",
    "Predictor": "labkit.ship.predictor:Predictor",
    "Optimizer": "labkit.train.optim:Optimizer",
    "language": "labkit.panels.words:choose",
    "panels": "labkit.panels:",
    "Lab": "labkit.panels.lab:Lab",
    "picture": "labkit.panels.still:picture",
    "scale": "labkit.lesson:scale",
    "check": "labkit.lesson:check",
    "LabkitError": "labkit.base.errors:LabkitError",
}

__all__ = [  # noqa: RUF022 (in the order of use)
    "load", "Rows", "samples", "Pipeline", "leakage", "Tokenizer", "encode", "Batches", "BucketBatches",
    "choose_buckets", "models", "tasks",
    "estimate", "largest_batch", "find_rate", "plot_schedule", "Optimizer", "fit", "runs", "open_run", "compare",
    "right_size", "Report", "Thresholds", "Predictor", "serve", "Generator", "Embedder", "Filler", "Lab", "panels",
    "language", "picture", "scale", "check", "LabkitError", "__version__",
]  # fmt: skip


class _Registered(ModuleType):
    """``labkit.models`` and ``labkit.tasks`` are packages and also the registries in them: ``lk.models["bert"]``.

    Python puts a package under its name in its parent as soon as anything in it is imported, so the two cannot be
    kept apart by giving the registry that name.
    """

    @property
    def _registry(self) -> Registry:
        return vars(self)[self.__name__.rpartition(".")[2]]

    def __getitem__(self, name: str) -> Any:
        return self._registry[name]

    def __iter__(self) -> Any:
        return iter(self._registry)

    def __len__(self) -> int:
        return len(self._registry)

    def __contains__(self, name: object) -> bool:
        return name in self._registry

    def keys(self) -> list[str]:
        return list(self._registry)

    def register(self, name: str, entry: type | str) -> None:
        """Add a class of one's own under a name; see :meth:`labkit.base.registry.Registry.register`."""
        self._registry.register(name, entry)

    def __repr__(self) -> str:
        return repr(self._registry)


labkit.models.__class__ = _Registered
labkit.tasks.__class__ = _Registered


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        module, _, attribute = _HOMES[name].partition(":")
        found = importlib.import_module(module)
        value = globals()[name] = getattr(found, attribute) if attribute else found
        return value
    from labkit.base.errors import nearest

    hint = "" if name.startswith("_") else nearest(name, __all__)
    raise AttributeError(f"module 'labkit' has no attribute {name!r}.{hint}", name=name, obj=labkit)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
