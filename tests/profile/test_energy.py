"""Energy as a range: from counters where there are some, else bounded by processor time."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from labkit.profile.energy import BEYOND, WATTS, Energy, EnergyMeter


def counter(folder: Path, name: str, microjoules: int, most: int = 10**9) -> Path:
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "energy_uj").write_text(str(microjoules))
    (place / "max_energy_range_uj").write_text(str(most))
    return place


def test_packages_are_summed_their_parts_are_not_and_a_counter_may_begin_again(tmp_path):
    counter(tmp_path, "intel-rapl:0", 5_000_000)
    counter(tmp_path, "intel-rapl:0:0", 1_000_000)  # a part of package 0
    counter(tmp_path, "intel-rapl:1", 999_000_000)
    with EnergyMeter(tmp_path) as meter:
        counter(tmp_path, "intel-rapl:0", 41_000_000)
        counter(tmp_path, "intel-rapl:0:0", 30_000_000)
        counter(tmp_path, "intel-rapl:1", 35_000_000)
    joules = 36 + 36  # of the second: 1 to the end of its range, then 35
    assert meter.energy == Energy(pytest.approx(joules / 3600), pytest.approx(BEYOND * joules / 3600), "RAPL")


def test_without_a_counter_processor_time_bounds_it(tmp_path):
    begin = time.process_time()
    with EnergyMeter(tmp_path) as meter:
        while time.process_time() - begin < 0.05:
            pass
    taken = time.process_time() - begin
    low, high = meter.energy.low, meter.energy.high
    assert meter.energy.source == "processor time" and high / low == pytest.approx(WATTS[1] / WATTS[0])
    assert 0.03 * WATTS[0] / 3600 < low <= taken * WATTS[0] / 3600


def test_accelerators_are_added(tmp_path, monkeypatch):
    used = iter([1_000_000, 2_000_000, 4_600_000, 2_000_000])  # millijoules of two devices, at two times
    fake = ModuleType("pynvml")
    fake.nvmlInit = lambda: None
    fake.nvmlDeviceGetCount = lambda: 2
    fake.nvmlDeviceGetHandleByIndex = lambda place: place
    fake.nvmlDeviceGetTotalEnergyConsumption = lambda device: next(used)
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    with EnergyMeter(tmp_path) as meter:
        pass
    assert meter.energy.low == pytest.approx(1.0, abs=1e-3) and meter.energy.source == "processor time + NVML"


def test_sums_name_all_sources():
    found = Energy(1, 2, "RAPL") + Energy(1, 3, "RAPL") + Energy(0.5, 1, "NVML")
    assert found == Energy(2.5, 6, "RAPL + NVML") and str(found) == "2.5 to 6 Wh (RAPL + NVML)"
