"""One device in under ten minutes: training of a BERT in tokens a second, share of the peak (MFU) and memory, beside
PyTorch on the same device."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from labkit.core.errors import LabkitError
from labkit.models import models
from labkit.profile.hardware import ACCELERATORS

from .driver import Worker

#: Seconds after which nothing more is begun.
BUDGET = 540.0
#: Steps in a turn of the peer.
TURN = 12


@dataclass(frozen=True)
class DeviceTraining:
    """A model and a batch: ``rows`` × ``length`` tokens, none of them padding."""

    name: str
    preset: str
    rows: int
    length: int
    changes: dict[str, Any]


#: On accelerators 32,768 tokens a step: with dropout on the probabilities of attention, which no fused kernel takes,
#: and without.
ON_ACCELERATORS = (
    DeviceTraining("BERT base", "base", 64, 512, {}),
    DeviceTraining("BERT base, attention_dropout = 0", "base", 64, 512, {"attention_dropout": 0.0}),
    DeviceTraining("BERT large, attention_dropout = 0", "large", 64, 512, {"attention_dropout": 0.0}),
)
ON_CPU = (DeviceTraining("BERT 6 × 384", "minilm-l6", 8, 128, {"weights": ""}),)


def training(
    say: Callable[[str], None] = lambda text: None, python: str | None = None, budget: float = BUDGET
) -> dict[str, Any]:
    """Train each of the settings for some seconds on the first device, and the peer after it.

    Args:
        say: called with a sentence before each.
        python: an interpreter with PyTorch and transformers.
        budget: seconds after which nothing more is begun.
    """
    begin = time.monotonic()
    with Worker(
        "device_worker", {}
    ) as worker:  # a process of its own: JAX keeps most of a GPU's memory to its end
        found: dict[str, Any] = {**worker.about, "settings": []}
    known = next((each for name, each in ACCELERATORS.items() if name in found["device"]), None)
    found["data_sheet_flops_per_second"] = None if known is None else known.bf16 * 1e12
    peak = found["data_sheet_flops_per_second"] or found["product_flops_per_second"]
    cpu = found["platform"] == "cpu"
    for setting in ON_CPU if cpu else ON_ACCELERATORS:
        if time.monotonic() - begin > budget:
            found["settings"].append({"name": setting.name, "left_out": "no time left"})
            continue
        say(setting.name)
        with Worker("device_worker", asdict(setting)) as worker:
            row = {"tokens": setting.rows * setting.length, **asdict(setting), **worker.about}
        row["mfu"] = row["tokens_per_second"] * row["flops_per_token"] / peak
        say(f"{setting.name}, PyTorch")
        row["peer"] = list(_theirs(setting, peak, row, python, not cpu, begin + budget))
        found["settings"].append(row)
    return {**found, "value": next((row["mfu"] for row in found["settings"] if "mfu" in row), 0.0)}


def _theirs(
    setting: DeviceTraining, peak: float, ours: dict[str, Any], python: str | None, gpu: bool, end: float
) -> Iterator[dict[str, Any]]:
    """The same of PyTorch: as it is, and compiled; or why there is nothing to compare with."""
    if python is None and importlib.util.find_spec("torch") is None:
        yield {"left_out": "PyTorch is not installed (pip install 'labkit[peers]')"}
        return
    interpreter = {} if python is None else {"python": python}
    model = models["bert"](preset=setting.preset, pooling="cls").replace(**setting.changes)
    names = ("width", "depth", "heads", "mlp_width", "dropout", "attention_dropout")
    about = {
        "rows": setting.rows, "length": setting.length, "vocabulary": model.vocabulary,
        "model": {name: value for name, value in model.values().items() if name in names},
        "gpu": gpu,
    }  # fmt: skip
    for compiled in (False, True):
        name = "compiled" if compiled else "eager"
        if time.monotonic() > end:
            yield {"name": name, "left_out": "no time left"}
            continue
        try:
            with Worker(
                "hf_device_worker", {**about, "compiled": compiled}, patience=240.0, **interpreter
            ) as worker:
                turn = max(
                    (worker.turn(TURN) for _ in range(3)), key=lambda turn: turn["tokens"] / turn["seconds"]
                )
                rate = turn["tokens"] / turn["seconds"]
                yield {
                    "name": name, "tokens_per_second": rate, "mfu": rate * ours["flops_per_token"] / peak,
                    "memory_bytes": turn["memory"], "ratio": ours["tokens_per_second"] / rate, **worker.about,
                }  # fmt: skip
        except LabkitError as error:
            yield {"name": name, "left_out": str(error).splitlines()[0]}
