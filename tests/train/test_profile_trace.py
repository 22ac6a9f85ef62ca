"""The profiler trace of a run: recorded by one option, without another number, and never the end of a run."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import labkit as lk


@pytest.fixture(scope="module")
def rows() -> lk.Rows:
    random = np.random.default_rng(0)
    table = [{"a": float(x), "label": "high" if x > 0 else "low"} for x in random.standard_normal(60)]
    return lk.load(table, label="label", features=True).split(validation=0.2, test=0.2, seed=0)


def fit(rows, folder, **more):
    model = lk.models["mlp"](widths=(4,))
    return lk.fit(
        rows, model, epochs=3, batch_size=4, background=False, folder=folder, learning_rate=0.01, **more
    )


def test_a_trace_is_in_the_folder_of_the_run_and_changes_no_number(rows, tmp_path):
    plain, traced = fit(rows, tmp_path / "a"), fit(rows, tmp_path / "b", profile=4)
    assert traced.info.status == "finished" and not traced.info.summary["warnings"]
    (trace,) = (traced.info.folder / "profile").rglob("*.xplane.pb")
    assert b"multi_step" in trace.read_bytes()
    assert not (plain.info.folder / "profile").exists()
    assert traced.history.equals(plain.history)


def test_a_profiler_in_use_does_not_end_the_run(rows, tmp_path, monkeypatch):
    def busy(folder):
        raise RuntimeError("Profile has already been started.")

    monkeypatch.setattr(jax.profiler, "start_trace", busy)
    run = fit(rows, tmp_path, profile=4)
    assert run.info.status == "finished"
    (warning,) = run.info.summary["warnings"]
    assert str(warning) == "No profiler trace was recorded: Profile has already been started."
