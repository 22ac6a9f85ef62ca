"""Runs that are killed, hang or run out of memory, and go on: every number as if nothing had happened."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest

import labkit as lk
from labkit.runs.store import Store


@pytest.fixture(scope="module")
def packed(reviews, tiny, settings, tmp_path_factory):
    """A run on packed rows, several updates in a call, that has ended by itself."""
    folder = tmp_path_factory.mktemp("packed")
    return lk.fit(reviews, tiny, folder=folder, background=False, packing="always", **settings)


# Step, seconds after its start, minutes between checkpoints: before the first checkpoint, where every step has one,
# between two; and anywhere.
KILLS = [(3, 0.0, 5.0), (12, 0.0, 0.0), (20, 0.0, 5.0)]
RANDOM = np.random.default_rng(0)
ANYWHERE = [(int(RANDOM.integers(24)), float(RANDOM.uniform(0, 0.3)), float(i % 2)) for i in range(20)]

KILLED = """
import os, signal, sys, threading, time
from labkit.train.loop import TrainingLoop, work
from labkit.runs.liveness import process_fields
from labkit.runs.logger import RunLogger
from labkit.runs.store import Store
store, run, at, seconds = Store(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
call, killing = TrainingLoop.run_steps, []
def kill():
    os.kill(os.getpid(), signal.SIGKILL)
def killed(self, portion):
    if self.step + portion.steps > at and not killing:
        killing.append(threading.Timer(seconds, kill).start() if seconds else kill())
    return call(self, portion)
TrainingLoop.run_steps = killed
store.update(run, pid=os.getpid(), **process_fields())
work(RunLogger(store, run))
time.sleep(30)
"""


def copy_of(finished, store, reviews, **changes):
    """A run of the same experiment, not begun."""
    from labkit.api import Run

    experiment = finished.experiment.replace(train=finished.experiment.train.replace(**changes))
    return Run.create(store, experiment, reviews)


def kill(run, step, seconds=0.0, more=("",)):
    """Work on a run in a process that is killed at a step; ``more``: code that it runs first, and its arguments."""
    code, *words = more
    command = [sys.executable, "-c", code + KILLED, str(run.store.folder), run.id, str(step), str(seconds)]
    command += map(str, words)
    worker = subprocess.Popen(command, stderr=subprocess.PIPE)
    _, problem = worker.communicate(timeout=600)
    assert worker.returncode == -signal.SIGKILL, problem.decode()[-2000:]


LONG = pytest.mark.soak
CASES = [
    *(pytest.param(way, *kill) for way, kill in (("finished", KILLS[0]), ("finished", KILLS[1]))),
    pytest.param("packed", *KILLS[2], marks=LONG),
    pytest.param("packed", *KILLS[1], marks=LONG),
    *(pytest.param(way, *kill, marks=LONG) for way in ("finished", "packed") for kill in ANYWHERE),
]


@pytest.mark.parametrize(("way", "step", "seconds", "save_minutes"), CASES)
def test_kill_step_and_resume_is_never_killed(
    way, reviews, tmp_path, tools, request, step, seconds, save_minutes
):
    finished = request.getfixturevalue(way)
    run = copy_of(finished, Store(tmp_path), reviews, save_minutes=save_minutes)
    kill(run, step, seconds)
    if run.status != "finished":  # a late kill may find it finished
        assert run.status == "lost"
        run.resume()
        run.wait(600)
    tools.same_run(run, finished)


def test_resume_twice_and_again_at_once(finished, reviews, tmp_path, tools):
    run = copy_of(finished, Store(tmp_path), reviews, save_minutes=0.0)
    for step in (12, 13):  # the second kill comes in the first step after a resume, and in another epoch
        kill(run, step)
    run.resume()
    run.wait(600)
    tools.same_run(run, finished)
    assert int(run.info.summary["saved_step"]) == run.info.steps


SET = """
import sys
from labkit.train.loop import TrainingLoop
from labkit.runs.store import Store
when, rate, take = int(sys.argv[5]), float(sys.argv[6]), TrainingLoop.take_commands
def told(self, paused):
    self.pace = 1  # one update in a call, so that no step is passed over
    if self.step == when:
        self.logger.store.command(self.logger.id, "set", {"learning_rate": rate})
    return take(self, paused)
TrainingLoop.take_commands = told
"""


@pytest.mark.parametrize("way", ["finished", pytest.param("packed", marks=LONG)])
def test_the_last_learning_rate_given_counts_whichever_life_took_it(way, reviews, tmp_path, tools, request):
    """Set at step 13, killed, set at step 10, killed before 13: the second rate from step 10 to the end."""
    usual = request.getfixturevalue(way)
    run = copy_of(usual, Store(tmp_path), reviews, evaluate_every=8)
    store = run.store
    kill(run, 15, more=(SET, 13, 5e-4))
    assert store.settings(run.id) == [(13, {"learning_rate": 5e-4})]
    kill(run, 11, more=(SET, 10, 2e-5))
    assert [step for step, _ in store.settings(run.id)] == [13, 10]
    run.resume()
    run.wait(600)
    rates, plain = (dict(tools.series(each, "train", "learning_rate")) for each in (run, usual))
    ratio = 2e-5 / run.experiment.train.optimizer.learning_rate
    for step, rate in rates.items():
        expected = float.fromhex(plain[step]) * (ratio if step > 10 else 1)
        assert float.fromhex(rate) == pytest.approx(expected, rel=1e-6), step


ENTERING = """
import os, signal, sys
import labkit.data.dataset as dataset
from labkit.core.config import loads
from labkit.data.io.load import open_rows
from labkit.train.experiment import Experiment
from labkit.runs.handle import RunHandle
from labkit.runs.store import Store
folder, rows, experiment = sys.argv[1], open_rows(sys.argv[2]), loads(Experiment, open(sys.argv[3]).read())

def enter(lab, left):
    def event(name, values):
        nonlocal left
        writes = name == "open" and (values[2] or 0) & (os.O_WRONLY | os.O_RDWR)
        changed = name in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "arrow") or writes
        if changed and lab in os.fsdecode(str(values[0])):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
    def write(path, *values, before=dataset.write_arrow):
        sys.audit("arrow", str(path))
        before(path, *values)
    dataset.write_arrow = write
    sys.addaudithook(event)
    RunHandle.create(Store(lab), experiment, rows)

number, code = 0, 1
while code:
    if not (child := os.fork()):
        enter(f"{folder}/{number}", number)
        os._exit(0)
    code, number = os.waitpid(child, 0)[1], number + 1
    assert code in (0, signal.SIGKILL), code
print(number)
"""


def test_a_run_that_is_killed_while_it_is_entered_is_not_listed_or_can_be_resumed(
    finished, reviews, tmp_path, tools
):
    """Killed before each change of a file, from the making of the lab folder to the end of ``Run.create``."""
    from labkit.data.io.load import open_rows

    (tmp_path / "experiment.toml").write_text(finished.toml())
    words = [tmp_path / "labs", reviews.save(tmp_path / "rows"), tmp_path / "experiment.toml"]
    (tmp_path / "labs").mkdir()
    done = subprocess.run([sys.executable, "-c", ENTERING, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    labs = [tmp_path / "labs" / str(number) for number in range(int(done.stdout))]
    assert len(labs) > 12
    entered = []
    for lab in labs:
        for run in lk.runs(lab):
            assert (
                run.status == "created"
                and open_rows(run.info.folder / "data").fingerprint == reviews.fingerprint
            )
            entered.append(run)
    assert entered and entered[0].store.folder != labs[-1]  # one of them was killed
    entered[0].resume().wait(600)
    tools.same_run(entered[0], finished)
    kept = labs[len(labs) // 2]  # what a killed process has left behind is removed with the next run
    copy_of(finished, Store(kept), reviews)
    assert not list(kept.glob(".new-*"))
