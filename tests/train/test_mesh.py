"""A whole run on eight devices, taken up again on one; and what lies where."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from labkit.models.base import TRANSFORMER_SHARDING
from labkit.runs.store import Store
from labkit.train.sharding import Placement

ON_EIGHT = """
import sys
from labkit.api import Run
from labkit.train.loop import TrainingLoop
from labkit.runs.store import Store
store, run = Store(sys.argv[1]), Run(Store(sys.argv[1]), sys.argv[2])
evaluate = TrainingLoop._evaluate
def once(self):
    evaluate(self)
    store.command(run.id, "stop")
TrainingLoop._evaluate = once
run.start()
run.wait()
assert run.status == "stopped" and run.info.summary["devices"] == 8, run
"""


def series(run, name="loss"):
    return [r.value for r in run.store.records(run.id, split="train") if r.name == name]


def test_a_run_of_eight_devices_goes_on_on_one(finished, reviews, tmp_path):
    from labkit.api import Run

    store = Store(tmp_path)
    # In float32: what sums in another order give may lie on the other side of a rounding to bfloat16.
    experiment = finished.experiment.replace(
        model=finished.experiment.model.replace(dtype="float32"),
        train=finished.experiment.train.replace(packing="never"),
    )
    alone = Run.create(store, experiment, reviews)
    alone.start()
    alone.wait(300)
    run = Run.create(store, experiment.replace(train=experiment.train.replace(sharded=True)), reviews)
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    done = subprocess.run(
        [sys.executable, "-c", ON_EIGHT, str(store.folder), run.id],
        env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    half = run.info.steps // 2
    np.testing.assert_allclose(series(run)[:4], series(alone)[:4], rtol=1e-5)  # later, rounding adds up
    np.testing.assert_allclose(series(run), series(alone)[:half], rtol=1e-3)
    run.resume()
    run.wait(300)
    assert run.status == "finished" and run.info.summary["devices"] == 1
    np.testing.assert_allclose(series(run), series(alone), rtol=1e-3)


@pytest.fixture(scope="module")
def mesh():
    """Two by four devices that need not exist: only their names are asked for."""
    return jax.sharding.AbstractMesh((4, 2), ("data", "model"), (AxisType.Auto, AxisType.Auto))


def test_a_run_keeps_its_batches_on_fewer_or_more_devices(mesh):
    placement = Placement(mesh)
    assert placement.dividing(8) is placement and placement.dividing(4) is placement
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Placement, "of", classmethod(lambda cls, *asked: asked[:3]))
        assert placement.dividing(6) == (4, 2, False)  # two parts at a time, each of two devices
        assert placement.dividing(1) == (2, 2, False)


@pytest.mark.parametrize(
    ("name", "shape", "sharded", "expected"),
    [
        ("backbone/layers/query/kernel", (6, 64, 64), False, (None, None, "model")),
        ("backbone/layers/query/kernel", (6, 64, 64), True, (None, "data", "model")),
        ("backbone/layers/out/kernel", (6, 64, 64), False, (None, "model", None)),
        ("backbone/layers/out_norm/scale", (6, 1024), True, (None, "data")),
        ("backbone/embeddings/word/embedding", (1000, 64), False, ("model", None)),
        ("backbone/embeddings/word/embedding", (999, 64), True, (None, "data")),  # 999 cannot be divided
        ("backbone/embeddings/type/embedding", (2, 64), True, ()),  # too small to be worth it
        ("head/bias", (3,), True, ()),
        ("", (), True, ()),
    ],
)
def test_what_lies_where(mesh, name, shape, sharded, expected):
    assert Placement(mesh, sharded, TRANSFORMER_SHARDING).spec(name, shape) == PartitionSpec(*expected)
