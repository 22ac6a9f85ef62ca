"""The loop on a real, tiny BERT: it learns, obeys, survives, and compiles no more than it must."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

import labkit as lk
from labkit.runs.logger import RunLogger
from labkit.runs.store import Store


def series(run, split, name):
    return [(r.step, r.value.hex()) for r in run.store.records(run.id) if r.split == split and r.name == name]


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def running(reviews, tiny, settings, tmp_path):
    """A run with far too many epochs, in a thread, past its first steps; stopped at the end of the test."""
    run = lk.fit(
        reviews, tiny, folder=tmp_path, background=True, **{**settings, "epochs": 500, "patience": 0}
    )
    wait_for(lambda: run.info.step > 2 or run.info.over)
    assert not run.info.over, run.info.error
    yield run
    if not run.info.over:
        run.stop()
        run.wait(300)


def test_a_run_learns_and_tells(finished):
    info = finished.info
    losses = [float.fromhex(value) for _, value in series(finished, "train", "loss")]
    assert info.status == "finished" and info.step == info.steps == len(losses)
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert [step for step, _ in series(finished, "validation", "f1")] == [info.steps // 2, info.steps]
    assert {"loss", "f1", "accuracy", "precision", "recall"} <= set(finished.history.columns)
    assert len(series(finished, "train", "f1")) >= 2
    for name in ("memory", "examples_per_second"):  # also of a run that halts before a second is over
        assert {info.steps // 2, info.steps} <= {step for step, _ in series(finished, "machine", name)}
    assert info.environment["jax"] and info.summary["parameters"] > 0


def test_one_compilation_a_bucket_and_none_in_the_loop(finished):
    info = finished.info
    assert info.compilations == len(info.summary["shapes"]) == 2 and info.summary["updates_per_call"] == 1
    assert "buckets" in info.summary["layout"]  # for a model so narrow attention outweighs what packing saves
    assert len(info.summary["compiled_because"]) == 1 and "ids" in info.summary["compiled_because"][0]


@pytest.fixture(scope="module")
def packed(reviews, tiny, settings, tmp_path_factory):
    """A run on packed rows, several updates in a call, that has ended by itself."""
    folder = tmp_path_factory.mktemp("packed")
    return lk.fit(reviews, tiny, folder=folder, background=False, packing="always", **settings)


def test_packed_rows_need_one_compilation_and_several_updates_a_call(packed):
    run, info, losses = packed, packed.info, series(packed, "train", "loss")
    assert info.compilations == len(info.summary["shapes"]) == 1 and info.summary["updates_per_call"] == 32
    assert info.summary["layout"].startswith("packed: rows of") and info.summary["padding_share"] < 0.15
    assert [step for step, _ in losses] == list(range(1, info.steps + 1))
    assert [step for step, _ in series(run, "validation", "f1")] == [info.steps // 2, info.steps]


def test_equal_experiments_give_equal_numbers(finished, reviews, tiny, settings, tmp_path):
    again = lk.fit(reviews, tiny, folder=tmp_path, background=False, **settings)
    assert series(again, "train", "loss") == series(finished, "train", "loss")
    assert series(again, "validation", "f1") == series(finished, "validation", "f1")


def test_pause_holds_the_run_and_resume_lets_it_go_on(running):
    command = running.pause()
    wait_for(lambda: running.status == "paused")
    assert running.info.step == running.store.taken(command)
    step = running.info.step
    time.sleep(0.4)
    assert running.info.step == step and running.status == "paused"
    running.resume()
    wait_for(lambda: running.info.step > step)


def test_a_new_learning_rate_counts_from_the_very_next_step(running):
    command = running.set(learning_rate=1e-9)
    wait_for(lambda: running.store.taken(command) is not None)
    taken = running.store.taken(command)
    compiled = running.info.compilations
    wait_for(lambda: running.info.step > taken + 2)
    rates = {r.step: r.value for r in running.store.records(running.id) if r.name == "learning_rate"}
    assert rates[taken] > 1e-8 > rates[taken + 1]
    assert running.info.compilations == compiled


def test_stop_ends_the_run_at_once_with_a_model(running):
    command = running.stop()
    running.wait(300)
    info = running.info
    assert info.status == "stopped" and info.step == running.store.taken(command)
    assert running.predict(["a fine film"])[0].label in ("negative", "positive")
    with pytest.raises(lk.LabkitError, match=r"stopped: it does not accept 'pause'.*resume"):
        running.pause()


def test_a_stopped_run_can_be_resumed_and_the_saved_rate_is_kept(running):
    running.set(learning_rate=1e-4)
    running.stop()
    running.wait(300)
    step = running.info.step
    running.resume()
    wait_for(lambda: running.info.step > step + 1 or running.info.over)
    steps = [int(step) for step, _ in series(running, "train", "loss")]
    assert steps == list(range(1, len(steps) + 1))
    rates = [
        r.value for r in running.store.records(running.id) if r.name == "learning_rate" and r.step > step
    ]
    assert max(rates) <= 1e-4 + 1e-9


def test_save_writes_a_checkpoint_at_once(running):
    command = running.save()
    wait_for(lambda: running.info.summary.get("saved_step") == running.store.taken(command) is not None)


def test_a_run_in_use_takes_no_second_writer(running):
    from labkit.train.loop import work

    with pytest.raises(lk.LabkitError, match=r"already running|locked"):
        work(RunLogger(running.store, running.id))


def test_patience_ends_the_run_and_the_best_is_kept(reviews, tiny, settings, tmp_path):
    options = {**settings, "epochs": 50, "learning_rate": 0.0, "warmup": 0.0, "patience": 2}
    run = lk.fit(reviews, tiny, folder=tmp_path, background=False, **options)
    evaluated = [step for step, _ in series(run, "validation", "f1")]
    assert len(evaluated) == 3 and run.status == "finished" and run.info.step < run.info.steps
    assert run.info.summary["model_step"] == evaluated[0]


def test_the_model_is_that_of_the_best_evaluation(reviews, tiny, settings, tmp_path):
    run = lk.fit(
        reviews, tiny, folder=tmp_path, background=False, **{**settings, "epochs": 6, "learning_rate": 0.02}
    )
    scores = {step: float.fromhex(value) for step, value in series(run, "validation", "f1")}
    losses = {step: float.fromhex(value) for step, value in series(run, "validation", "loss")}
    best = max(scores, key=lambda step: (scores[step], -losses[step], -step))
    assert run.info.summary["model_step"] == best
    report = run.evaluate("validation", baselines=False)
    assert report.scores["f1"] == pytest.approx(scores[best], abs=1e-6)


def test_a_gradient_that_is_not_finite_is_left_out_and_ends_the_run_when_it_lasts(
    reviews, tiny, settings, tmp_path
):
    with pytest.raises(
        lk.LabkitError, match=r"not finite in 5 steps in a row.*the rows \d+.*Lower the learning rate"
    ):
        lk.fit(
            reviews,
            tiny,
            folder=tmp_path,
            background=False,
            **{**settings, "learning_rate": 1e30, "clip": 0.0},
        )
    run = lk.runs(tmp_path)[0]
    assert run.status == "failed" and run.info.traceback
    assert any(math.isnan(r.value) or math.isinf(r.value) for r in run.store.records(run.id))


def test_frozen_parameters_do_not_move(reviews, tiny, settings, tmp_path):
    options = {**settings, "epochs": 1, "keep": "last"}
    moved = lk.fit(reviews, tiny, folder=tmp_path, background=False, **options, freeze=("backbone/*",))
    weights = load_file(moved.info.folder / "model" / "model.safetensors")
    assert moved.info.summary["trainable"] == 16 * 2 + 2 < moved.info.summary["parameters"]
    assert np.abs(weights["classifier.bias"]).max() > 0


def test_a_learning_rate_set_after_the_last_checkpoint_is_set_again_at_its_step(
    finished, reviews, tiny, tmp_path
):
    from labkit.api import Run
    from labkit.train.loop import work

    run = Run.create(Store(tmp_path), finished.experiment, reviews)
    run.store.command(run.id, "set", {"learning_rate": 1e-4})
    run.store.take(run.id, 5)  # as if the rate had been set at step 5 and the run killed before a checkpoint
    work(RunLogger(run.store, run.id))
    rates = {r.step: r.value for r in run.store.records(run.id) if r.name == "learning_rate"}
    assert rates[5] > 1e-3 and rates[6] <= 1e-4
