"""Seeds and sizes that no computation could use are refused by name, before a run is entered."""

from __future__ import annotations

import dataclasses

import pytest

import labkit as lk
from labkit.core.config import SEEDS, Config
from labkit.core.errors import ConfigError
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.report_base import RowReport
from labkit.models import models
from labkit.tasks import tasks
from labkit.tasks.decoding import Generation
from labkit.train.experiment import Training
from labkit.train.optimizer import Optimizer

ROWS = [{"text": f"{word} text of number {i}", "label": word} for i in range(10) for word in ("good", "bad")]
WHOLE = (
    [models[name] for name in models] + [tasks[name] for name in tasks] + [Training, Optimizer, Generation]
)
UNUSABLE = [-1, 2**32, 2**32 + 1, 2**63, 2**64, 10**100, 10**5000]


def numbers(kind: type[Config]) -> list[str]:
    fields = dataclasses.fields(kind)
    return [field.name for field in fields if str(field.type) in ("int", "int | None", "tuple[int, ...]")]


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in WHOLE for name in numbers(kind)])
@pytest.mark.parametrize("value", [10**12, 10**21, 10**5000], ids=["10^12", "10^21", "10^5000"])
def test_no_setting_takes_a_number_beyond_any_machine(kind, name, value):
    several = "tuple" in str(next(field.type for field in dataclasses.fields(kind) if field.name == name))
    with pytest.raises(ConfigError, match=f"{name}.*above the maximum"):
        kind(**{name: (value,) if several else value})


@pytest.mark.parametrize("seed", UNUSABLE, ids=lambda seed: f"{seed.bit_length()} bits")
def test_a_seed_is_used_in_full_or_refused(seed):
    rows = lk.load(ROWS)
    for use in (
        lambda: Training(seed=seed),
        lambda: Generation(seed=seed),
        lambda: lk.fit(rows, "mlp", seed=seed),
        lambda: rows.split(seed=seed),
        lambda: rows.sample(3, seed=seed),
        lambda: ClassificationReport(["a", "b"], [0, 1], [[0.5, 0.5], [0.1, 0.9]], seed=seed),
        lambda: RowReport(["a"], [[1.0]], [[1.0]], [[True]], seed=seed),
    ):
        with pytest.raises(ConfigError, match="seed"):
            use()


def test_the_greatest_seeds_give_rows_of_their_own():
    rows = lk.load([{"text": f"number {i}", "label": i % 2} for i in range(200)])
    drawn = [rows.sample(20, seed=seed)["train"]["row"][:] for seed in (0, 2**31, SEEDS)]
    assert len({tuple(map(int, each)) for each in drawn}) == 3


@pytest.mark.parametrize("seed", [1.0, "1", True, None])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ConfigError, match=r"seed = .*; it must be a whole number"):
        lk.load(ROWS).split(seed=seed)
