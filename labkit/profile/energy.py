"""Energy of a computation on this machine, as a range: measured where the machine has meters, else bounded by
its processor time.

 Meters: the RAPL counters of the processor, where the system lets this user read them, and the energy counter
of NVIDIA accelerators, where ``pynvml`` is installed. RAPL leaves out memory, disks and power supply, so that
the upper end is larger. Without a meter: seconds of processor time × watts a core.
"""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

#: Watts of one busy core, at least and at most, without a meter: a laptop's efficient core, and a core of an
#: old server with its share of the machine.
WATTS = (2.0, 20.0)
#: The machine's energy as a multiple of what RAPL counts, at most: memory, power supply, cooling.
BEYOND = 2.0
_RAPL = Path("/sys/class/powercap")
_HOUR = 3600.0


@dataclass(frozen=True)
class Energy:
    """Watt-hours, at least and at most, and how they are known: "RAPL", "NVML" or "processor time"."""

    low: float
    high: float
    source: str

    def __add__(self, other: Energy) -> Energy:
        sources = dict.fromkeys([*self.source.split(" + "), *other.source.split(" + ")])
        return Energy(self.low + other.low, self.high + other.high, " + ".join(filter(None, sources)))

    def __str__(self) -> str:
        return f"{self.low:.3g} to {self.high:.3g} Wh ({self.source})"


@dataclass
class EnergyMeter:
    """Measures the energy of a ``with`` block; the result is :attr:`energy`.

    All that this machine does meanwhile is counted by a meter; processor time is that of this process.
    """

    rapl: Path = _RAPL
    energy: Energy = Energy(0.0, 0.0, "")
    _begin: dict[str, float] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._begin = self._read()
        return self

    def __exit__(self, *error: object) -> None:
        end = self._read()
        spent = {name: end[name] - begin for name, begin in self._begin.items() if name in end}
        for name, joules in spent.items():
            if joules < 0:  # the counter has begun again
                spent[name] = joules + _wrap(self.rapl / name)
        seconds = spent.pop("seconds")
        accelerator = spent.pop("nvml", None)
        if spent:
            joules = sum(spent.values())
            found = Energy(joules / _HOUR, BEYOND * joules / _HOUR, "RAPL")
        else:
            low, high = (seconds * watts / _HOUR for watts in WATTS)
            found = Energy(low, high, "processor time")
        if accelerator is not None:
            found += Energy(accelerator / _HOUR, accelerator / _HOUR, "NVML")
        self.energy = found

    def _read(self) -> dict[str, float]:
        """Joules by counter, and the processor seconds of this process."""
        found = {"seconds": time.process_time()}
        for place in sorted(self.rapl.glob("intel-rapl:*")):
            if place.name.count(":") == 1:  # a whole package; its parts are in it
                with contextlib.suppress(OSError, ValueError):
                    found[place.name] = int((place / "energy_uj").read_text()) / 1e6
        if (joules := _accelerators()) is not None:
            found["nvml"] = joules
        return found


def added_to(before: Any, energy: Energy) -> dict[str, Any]:
    """An energy and what was used before, as a record of JSON; ``before``: such a record, or None."""
    if isinstance(before, Mapping) and {"low", "high", "source"} <= set(before):
        energy = Energy(float(before["low"]), float(before["high"]), str(before["source"])) + energy
    return {"low": energy.low, "high": energy.high, "source": energy.source}


def _wrap(place: Path) -> float:
    with contextlib.suppress(OSError, ValueError):
        return int((place / "max_energy_range_uj").read_text()) / 1e6
    return 0.0


def _accelerators() -> float | None:
    """Joules that all NVIDIA accelerators have used since the driver was loaded; None where it is not known."""
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        devices = [nvml.nvmlDeviceGetHandleByIndex(place) for place in range(nvml.nvmlDeviceGetCount())]
        return sum(nvml.nvmlDeviceGetTotalEnergyConsumption(device) for device in devices) / 1e3
    except Exception:  # not installed, no driver, or an accelerator without a counter
        return None
