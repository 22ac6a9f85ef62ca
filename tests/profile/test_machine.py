"""The measured machine and the table of accelerators."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from labkit.core.errors import ConfigError
from labkit.profile import hardware
from labkit.profile.hardware import ACCELERATORS, Machine, Work, accelerator, calibrate, roofline

MINE = Machine(
    "m", "cpu", float32=1e11, bfloat16=5e10, bandwidth=1e10, elementwise=1e9, dispatch=1e-5, measured=0.0
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(hardware, "SIDES", (64,))
    return tmp_path


def test_calibration_measures_keeps_and_reads_again(cache):
    first = calibrate(0.05)
    assert first.platform == "cpu" and first.name and abs(time.time() - first.measured) < 60
    assert min(first.float32, first.bfloat16, first.bandwidth, first.elementwise) > 1e6
    assert 0 < first.dispatch < 1
    assert calibrate(0.05) == first
    assert calibrate(0.05, renew=True).measured > first.measured


@pytest.mark.parametrize("spoil", ["old", "future", "torn", "other"])
def test_a_stale_or_damaged_calibration_is_made_again(cache, spoil):
    first = calibrate(0.02)
    (place,) = cache.rglob("*.json")
    shift = {"old": -hardware.FRESH - 1, "future": 3600}.get(spoil)
    content = json.loads(place.read_text())
    if shift is not None:
        content["measured"] += shift
    text = json.dumps({"x": 1} if spoil == "other" else content)
    place.write_text(text[:20] if spoil == "torn" else text)
    again = calibrate(0.02)
    assert again.measured > first.measured and again.measured <= time.time()
    assert calibrate(0.02) == again


def test_the_roofline_by_hand():
    work = Work(flops=3e10 + 1e9, transcendentals=0.0, products={"float32": 2e10, "bfloat16": 1e10})
    assert roofline(MINE, work, 1e9) == pytest.approx(
        0.2 + 0.2 + 1.0 + 1e-5
    )  # element-wise work takes longest
    assert roofline(MINE, work, 2e10) == pytest.approx(0.2 + 0.2 + 2.0 + 1e-5)  # memory traffic does
    assert roofline(replace(MINE, float32=2e11), work, 1e9) < roofline(MINE, work, 1e9)


def test_the_table_of_accelerators():
    wanted = "T4, L4, A10G, A100-40, A100-80, H100, H200, RTX 4090, TPU v2-8 core, TPU v3, TPU v4, TPU v5e, TPU v5p"
    assert set(wanted.split(", ")) | {"TPU v6e"} == set(ACCELERATORS)
    for name, entry in ACCELERATORS.items():
        assert entry.name == name and entry.bf16 >= entry.fp32 > 0 and entry.memory_bytes >= 8e9
        assert entry.rate("float32") < entry.fp32 * 1e12 and entry.rate("bfloat16") < entry.bf16 * 1e12
    with pytest.raises(ConfigError, match=r"unknown accelerator 'H10'\. Did you mean 'H100'"):
        accelerator("H10")
    assert accelerator("L4").memory == 24
