"""Callbacks: order and values of their calls, their states in checkpoints, and their names in experiments."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import labkit as lk
from labkit.core.config import dumps, loads
from labkit.core.errors import ConfigError, RunError
from labkit.runs.handle import code_of
from labkit.train import loop
from labkit.train.callback_specs import callbacks_of, specs_of
from labkit.train.callback_states import decode, encode
from labkit.train.experiment import Experiment

MODULE = '''
import json, os, signal
from dataclasses import dataclass

import numpy as np

import labkit as lk
from labkit.core.config import Config, option


@dataclass(frozen=True)
class TotalsSettings(Config):
    every: int = option(1, "Steps between two values.", low=1)
    killed_at: int = option(0, "Step at which the process kills itself, once; 0: never.", low=0)


class Totals(lk.Callback):
    """Sums and a hash-like product of all metrics; whoever misses or repeats a step gets another."""

    Settings = TotalsSettings

    def __init__(self, settings=None):
        super().__init__(settings)
        self.calls, self.product, self.losses, self.scores = 0, 1.0, np.zeros(0, np.float32), []

    def on_step(self, progress, step, metrics):
        mark = progress.folder / "killed"
        if step == self.settings.killed_at and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if step % self.settings.every == 0:
            self.calls += 1
            self.product = self.product * 1.0001 + metrics["loss"] * step
            self.losses = np.append(self.losses, np.float32(metrics["loss"]))

    def on_evaluate(self, progress, step, scores):
        self.scores.append([step, scores["loss"]])

    def on_end(self, progress, status):
        end = [self.calls, self.product.hex(), self.losses.tobytes().hex(), self.scores]
        (progress.folder / "totals.json").write_text(json.dumps(end))

    def state_dict(self):
        return {"calls": self.calls, "product": self.product, "losses": self.losses, "scores": self.scores}

    def load_state_dict(self, state):
        self.calls, self.product = state["calls"], state["product"]
        self.losses, self.scores = state["losses"], state["scores"]


class Plain(lk.Callback):
    def on_end(self, progress, status):
        (progress.folder / "status.txt").write_text(status)
'''
SETTINGS = {"epochs": 4, "batch_size": 8, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(0)
    table = [
        {"height": float(x), "width": float(y), "label": "high" if x + 0.3 * y > 0 else "low"}
        for x, y in random.standard_normal((80, 2))
    ]
    return lk.load(table, label="label", features=True).split(validation=0.2, test=0.2, seed=0)


@pytest.fixture
def module(tmp_path_factory, monkeypatch) -> Any:
    """A module file on the path of this process and of those that it starts."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "my_totals.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{lk_path()}")
    yield importlib.import_module("my_totals")
    del sys.modules["my_totals"]


def lk_path() -> Path:
    return Path(lk.__file__).parents[1]


def fit(rows, folder, callbacks=(), **settings):
    options = {"background": False, "folder": folder, **SETTINGS, **settings}
    return lk.fit(rows, lk.models["mlp"](widths=(8,)), callbacks=callbacks, **options)


class Journal(lk.Callback):
    """Notes all its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []

    def on_begin(self, progress):
        self.calls.append(("begin", progress.step, progress.steps))

    def on_step(self, progress, step, metrics):
        assert progress.step == step
        self.calls.append(("step", step, metrics))

    def on_evaluate(self, progress, step, scores):
        self.calls.append(("evaluate", step, scores))

    def on_checkpoint(self, progress, step):
        self.calls.append(("checkpoint", step))

    def on_end(self, progress, status):
        self.calls.append(("end", status))


def test_calls_come_in_order_and_their_values_are_those_of_the_run_store(rows, tmp_path):
    journal = Journal()
    run = fit(rows, tmp_path, [journal])
    calls, steps, each = journal.calls, run.info.steps, run.info.steps // 4
    assert calls[0] == ("begin", 0, steps) and calls[-1] == ("end", "finished")
    assert [call[1] for call in calls if call[0] == "step"] == list(range(1, steps + 1))
    for number in range(1, 5):
        place = next(i for i, call in enumerate(calls) if call[:2] == ("evaluate", number * each))
        before = [call[1] for call in calls[:place] if call[0] == "step"]
        assert before == list(range(1, number * each + 1))
        assert place < calls.index(("checkpoint", number * each))
    stored: dict[tuple[str, int], dict[str, float]] = {}
    for record in run.store.records(run.id):
        stored.setdefault((record.split, record.step), {})[record.name] = record.value
    for name, split in (("step", "train"), ("evaluate", "validation")):
        for call in (call for call in calls if call[0] == name):
            assert all(type(value) is float for value in call[2].values())
            assert call[2] == stored[split, call[1]]


def test_a_callback_changes_no_number_and_adds_no_transfer(rows, tmp_path, monkeypatch):
    get, counted, guards = jax.device_get, [], set()
    take = loop.TrainingLoop.run_steps

    def counting(tree):
        counted.append(1)
        return get(tree)

    def called(self, portion):
        guards.add(jax.config.jax_transfer_guard)
        return take(self, portion)

    monkeypatch.setattr(jax, "device_get", counting)
    monkeypatch.setattr(loop.TrainingLoop, "run_steps", called)
    runs, transfers = [], []
    for name, callbacks in (("with", [Journal()]), ("without", [])):
        counted.clear()
        runs.append(fit(rows, tmp_path / name, callbacks, seed=3))
        transfers.append(len(counted))
    assert transfers[0] == transfers[1] and guards == {"disallow"}
    values = [[(r.step, r.name, r.value.hex()) for r in run.store.records(run.id) if r.split != "machine"]
              for run in runs]  # fmt: skip
    assert values[0] == values[1]


def test_a_callback_may_compute_log_and_end_the_run(rows, tmp_path):
    class Own(lk.Callback):
        def on_step(self, progress, step, metrics):
            progress.log({"double": float(jax.numpy.asarray(metrics["loss"]) * 2)})

        def on_evaluate(self, progress, step, scores):
            if len(progress_steps) == 1:
                progress.stop()
            progress_steps.append(step)

    progress_steps: list[int] = []
    run = fit(rows, tmp_path, [Own()])
    each = run.info.steps // 4
    assert progress_steps == [each, 2 * each] and run.status == "finished" and run.info.step == 2 * each
    history = run.history[run.history.split == "train"]
    np.testing.assert_allclose(history["double"], 2 * history["loss"], rtol=1e-6)


@pytest.mark.parametrize(
    "failing", ["on_begin", "on_step", "on_evaluate", "on_checkpoint", "on_end", "state_dict"]
)
def test_an_exception_ends_the_run_with_its_traceback_and_it_can_be_resumed(rows, tmp_path, failing, module):
    ends = []

    class Bad(lk.Callback):
        def on_end(self, progress, status):
            ends.append(status)

    def fail(self, *args):
        raise ValueError("a mistake of mine")

    bad = type("Bad", (Bad,), {failing: fail})
    totals = module.Totals()
    with pytest.raises(
        RunError, match=rf"callback .*Bad raised ValueError: a mistake of mine in {failing}.*resume"
    ):
        fit(rows, tmp_path, [bad(), totals])
    run = lk.runs(tmp_path)[0]
    assert (
        run.status == "failed"
        and "in fail" in run.info.traceback
        and "a mistake of mine" in run.info.traceback
    )
    assert ends == ([] if failing == "on_end" else ["failed"])
    with pytest.raises(RunError, match=r"Bad.*run\.resume\(callbacks=\[\]\)"):
        run.resume()
    run.resume([module.Totals()]).wait(300)
    whole = fit(rows, tmp_path / "whole", [module.Totals()])
    assert totals_of(run) == totals_of(whole)


def totals_of(run) -> list[Any]:
    return json.loads((run.info.folder / "totals.json").read_text())


def test_states_resume_bit_for_bit_in_another_process_that_was_killed(rows, tmp_path, module):
    whole = fit(rows, tmp_path / "whole", [module.Totals()])
    kill_at = whole.info.steps // 2 + 2
    settings = module.TotalsSettings(killed_at=kill_at)
    run = fit(rows, tmp_path / "killed", [module.Totals(settings)], detach=True)
    try:
        run.wait(300)
    except RunError:
        run.resume().wait(300)
    assert (run.info.folder / "killed").exists() and run.status == "finished"
    assert totals_of(run) == totals_of(whole) and totals_of(run)[0] == whole.info.steps
    assert [r.value.hex() for r in run.store.records(run.id) if r.name == "loss"] == [
        r.value.hex() for r in whole.store.records(whole.id) if r.name == "loss"
    ]


def test_a_callback_of_a_notebook_or_a_function_is_refused_for_another_process(
    rows, tmp_path, module, monkeypatch
):
    class Local(lk.Callback):
        pass

    def with_every(self, every: int) -> None:
        self.every = every

    names = {"__module__": "my_totals", "__qualname__": "Arguments", "__init__": with_every}
    Arguments = type("Arguments", (lk.Callback,), names)
    monkeypatch.setattr(module, "Arguments", Arguments, raising=False)
    notebook = type("Notebook", (lk.Callback,), {"__module__": "__main__"})
    for callback, said in (
        (Local(), r"Local.*defined inside a function.*without detach"),
        (notebook(), r"__main__:Notebook.*defined in a notebook"),
        (Arguments(3), r"takes arguments \(every\).*Settings"),
    ):
        with pytest.raises(ConfigError, match=said):
            fit(rows, tmp_path, [callback], detach=True)
        with pytest.raises(ConfigError, match=said):
            fit(rows, tmp_path, [callback], processes=2)
    assert len(lk.runs(tmp_path)) == 0
    for wrong, said in (
        (module.Totals, r"Create it first: Totals\(\)"),
        (print, "subclass of labkit.Callback"),
    ):
        with pytest.raises(ConfigError, match=said):
            fit(rows, tmp_path, [wrong])


def test_callbacks_are_part_of_the_experiment_and_its_toml(rows, tmp_path, module):
    callbacks = [module.Totals(module.TotalsSettings(every=2)), module.Plain(), Journal()]
    callbacks[2].__class__ = type("Journal", (Journal,), {})
    run = fit(rows, tmp_path, callbacks, epochs=1)
    specs = ({"class": "my_totals:Totals", "every": 2, "killed_at": 0}, {"class": "my_totals:Plain"})
    assert run.experiment.callbacks == specs == specs_of(callbacks)  # what only this process has is not in it
    again = loads(Experiment, run.toml())
    assert again == run.experiment and 'class = "my_totals:Totals", every = 2' in dumps(again)
    made = callbacks_of(again.callbacks)
    assert [type(each) for each in made] == [module.Totals, module.Plain]
    assert made[0].settings == module.TotalsSettings(every=2)
    assert (
        "import my_totals" in run.code()
        and "my_totals.Totals(my_totals.Totals.Settings(every=2" in code_of(again)
    )
    file = tmp_path / "experiment.toml"
    source = tmp_path / "rows.csv"
    source.write_text("a,b,label\n" + "".join(f"{i},{i % 7},{'x' if i % 2 else 'y'}\n" for i in range(60)))
    own = fit(
        lk.load(str(source), label="label", features=True),
        tmp_path,
        [module.Totals(module.TotalsSettings(every=3))],
        epochs=1,
    )
    file.write_text(own.toml())
    trained = lk.api.train(file, folder=tmp_path / "from_file")
    assert totals_of(trained) == totals_of(own)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"class": "no_such_module:Totals"}, "no_such_module:Totals cannot be imported.*Python path"),
        ({"class": "my_totals:Totls"}, "my_totals:Totls is not a subclass"),
        ({"class": "my_totals:Totals", "evry": 3}, "evry.*every"),
        ({"class": "my_totals:Totals", "every": 0}, "every"),
        ({"class": "my_totals:Plain", "every": 1}, "has no settings"),
        ({"class": "os;print(1):X"}, "names no class"),
        ({"class": "if:X"}, "names no class"),
        ({"name": "my_totals:Totals"}, "names no class"),
    ],
)
def test_an_entry_that_names_no_callback_is_refused(module, spec, said):
    with pytest.raises(ConfigError, match=said):
        callbacks_of([spec])


def test_states_come_back_as_they_were(tmp_path):
    import ml_dtypes

    arrays = [
        np.arange(6, dtype=dtype).reshape(2, 3) for dtype in ("int8", "uint32", "int64", "float16", "float64")
    ]
    arrays += [
        np.array([True, False]),
        np.zeros((0, 3), np.float32),
        np.float32([np.nan, -0.0, np.inf]),
        np.ones(3, ml_dtypes.bfloat16),
    ]
    arrays += [np.array(2.5), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(9.0)[::-2]]
    scalars = [
        None,
        True,
        3,
        2**80,
        0.1,
        float("inf"),
        "text \u4e2d",
        np.float32(0.1),
        np.int64(7),
        np.float64(1 / 3),
    ]
    states = {
        "a:B": {"arrays": arrays, "nested": {"list": [1], "array": {}}, "scalars": scalars},
        "a:B #2": {"x": []},
    }
    path = tmp_path / "file"
    path.write_bytes(encode(states))
    found = decode(path)
    for old, new in zip(arrays, found["a:B"].pop("arrays"), strict=True):
        assert isinstance(new, np.ndarray) and (new.dtype, new.shape) == (old.dtype, old.shape)
        assert new.tobytes() == old.tobytes()
    back = found["a:B"].pop("scalars")
    assert [(type(a), a) for a in back] == [(type(a), a) for a in scalars]
    assert found == {"a:B": {"nested": {"list": [1], "array": {}}}, "a:B #2": {"x": []}}
    assert np.array_equal(
        next(iter(decode_of({"x": {"y": jax.numpy.arange(3)}}, path)["x"].values())), [0, 1, 2]
    )


def decode_of(states, path):
    path.write_bytes(encode(states))
    return decode(path)


@pytest.mark.parametrize(
    "value",
    [(1, 2), {1: 2}, {1, 2}, object(), np.array(["x"]), np.array([None])],
    ids=lambda value: type(value).__name__,
)
def test_a_state_that_would_not_come_back_is_refused_with_its_place(value):
    with pytest.raises(RunError, match=r"a:B state\['x'\]\[0\] is of type"):
        encode({"a:B": {"x": [value]}})


@pytest.mark.parametrize("content", [b"", b"\x00" * 40, encode({})[:-1] + b"x", b"\x02\0\0\0\0\0\0\0{}"])
def test_a_damaged_file_of_states_is_refused(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(RunError, match="states of the callbacks cannot be read"):
        decode(path)
