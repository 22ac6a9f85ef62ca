"""Scoring a trained model on a split by the task's own measure, for tasks that have no classes to report on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
from flax import nnx

from labkit.base.config import loads
from labkit.base.errors import DataError
from labkit.base.shown import escape
from labkit.data.rows import Rows
from labkit.train.compilation import use_compilation_cache
from labkit.train.experiment import Experiment
from labkit.train.setup import load_model


class Scores(dict[str, float]):
    """Scores by name, as one line and, in a notebook, as a table."""

    def __init__(self, split: str, values: dict[str, float]):
        super().__init__(values)
        self.split = split

    def __repr__(self) -> str:
        return f"<{self.split}: {', '.join(f'{name} {value:.4g}' for name, value in self.items())}>"

    def _repr_html_(self) -> str:
        cells = "".join(f"<tr><th>{escape(name)}</th><td>{value:.4g}</td></tr>" for name, value in self.items())
        return f"<table><caption>{escape(self.split)}</caption>{cells}</table>"


def assess(folder: Path, rows: Rows, split: str) -> Scores:
    """The scores of the model in ``folder`` on a split of ``rows``.

    Raises:
        DataError: there is no such split, or it is empty.
        WeightsError: the model cannot be read.
    """
    if not len(rows.splits.get(split, ())):
        raise DataError(f"there are no rows of {split!r}; there are {', '.join(rows.splits)}.")
    use_compilation_cache()
    experiment: Experiment = loads(Experiment, (folder / "labkit.toml").read_text(encoding="utf-8"))
    module, task, inputs = load_model(experiment, folder)
    graph, state = nnx.split(module)
    batches, _ = inputs.batches(inputs.encode(rows[split]), experiment.train, module.trunk.config, 1, shuffle=False)

    @jax.jit
    def add(state: Any, sums: Any, batch: dict[str, Any]) -> Any:
        return jax.tree.map(jax.numpy.add, sums, task.loss(nnx.merge(graph, state), batch, None)[2])

    sums = task.zeros()
    for batch in batches:
        sums = add(state, sums, batch)
    return Scores(split, task.scores(jax.device_get(sums)))
