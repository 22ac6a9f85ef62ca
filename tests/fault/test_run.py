"""Runs in trouble: numbers that are not finite, no room, no memory, no answer; and notebooks that go away."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import labkit as lk
from labkit.data.batching.base import Batches
from labkit.runs.store import Store
from labkit.runs.supervisor import Supervisor
from labkit.train.step_health import Health, NotFinite, blamed, listed


def again(finished, store, reviews, **changes):
    """A run of the experiment of ``finished``, with some settings changed; not begun."""
    from labkit.api import Run

    experiment = finished.experiment.replace(train=finished.experiment.train.replace(**changes))
    return Run.create(store, experiment, reviews)


@pytest.fixture
def poisoned(monkeypatch):
    """Gives the first example of some training batches a weight that is not a number."""
    at, steps = Batches.at, set()

    def bad(self, step):
        batch = at(self, step)
        if self.shuffle and step in steps:
            batch["weight"][0] = math.nan
        return batch

    monkeypatch.setattr(Batches, "at", bad)
    return steps


def test_nan_once_is_left_out_and_counted(finished, reviews, tmp_path, poisoned, tools):
    poisoned.add(6)
    run = again(finished, Store(tmp_path), reviews)
    run.start().wait(300)
    losses = {step: float.fromhex(value) for step, value in tools.series(run, "train", "loss")}
    assert run.status == "finished" and run.info.summary["skipped"] == 1
    assert [step for step, loss in losses.items() if not math.isfinite(loss)] == [7]
    assert {s: v for s, v in tools.series(run, "train", "loss") if s < 7} == {
        s: v for s, v in tools.series(finished, "train", "loss") if s < 7
    }
    from safetensors.numpy import load_file

    weights = load_file(run.info.folder / "model" / "model.safetensors")
    assert all(np.isfinite(array).all() for array in weights.values())


def test_nan_five_times_rolls_back_and_names_the_rows(finished, reviews, tmp_path, poisoned, tools):
    poisoned.update(range(13, 18))
    run = again(finished, Store(tmp_path), reviews)
    with pytest.raises(
        lk.LabkitError, match=r"not finite in 5 steps in a row, .* step 18\. The batches contained the rows"
    ):
        run.start().wait(300)
    info = run.info
    assert (info.status, info.step, info.summary["rolled_back_to"]) == ("failed", 12, 12)
    assert "the run was restored to step 12" in info.error
    told = info.summary["not_finite"]
    assert list(told) == ["14", "15", "16", "17", "18"] and all(len(rows) == 1 for rows in told.values())
    assert {row for rows in told.values() for row in rows} <= set(
        reviews["train"]["row"]
    )  # as the user counts them
    poisoned.clear()  # the rows are mended
    run.resume()
    run.wait(300)
    tools.same_run(run, finished)


def test_nan_and_alarms_by_the_numbers():
    health = Health()
    for step in range(1, 31):
        assert health.see(step, 1.0 + step % 3, 0) == ""
    assert health.see(31, 19.9, 0) == ""  # ten times the median of 2 is 20
    assert health.see(32, 41.0, 0) == "step 32: the gradient is 20.5 times the usual" and health.alarms == 1
    assert [health.see(32, norm, 0) for norm in (25.0, 81.0)] == [
        "",
        "",
    ]  # where there are such, they are usual
    assert health.see(32, 170.0, 0).endswith(": the gradient is 85 times the usual") and health.alarms == 2
    assert [health.see(33 + n, math.inf, 1 + n) for n in range(4)] == [""] * 4
    assert health.see(37, 2.0, 4) == ""  # applied again: what was before does not count
    with pytest.raises(NotFinite, match="in 5 steps in a row, the last of them step 42"):
        [health.see(38 + n, math.nan, 5 + n) for n in range(5)]


def test_those_who_did_it_are_named_else_all():
    batch = {
        "inputs": np.ones((3, 2), np.float32),
        "weight": np.ones(3, np.float32),
        "index": np.array([4, -1, 2]),
    }
    rows = np.arange(10) * 10
    assert blamed(batch, rows) == [20, 40] and blamed(batch, None) == [2, 4]
    batch["inputs"][2, 1] = np.inf
    assert blamed(batch, rows) == [20]
    assert listed(list(range(30))) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 18 more"


# --- no room --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reaction", [pytest.param("continue", marks=pytest.mark.soak), "pause"])
def test_enospc_in_a_run_is_told_and_overcome(finished, reviews, small_disk, tools, reaction):
    place = small_disk(32)
    run = again(
        finished, Store(place / "lab"), reviews, epochs=500, save_minutes=0.0, on_checkpoint_failure=reaction
    )
    run.start()
    try:
        tools.wait_for(lambda: run.info.summary.get("saved_step") or run.info.over)
        assert not run.info.over, run.info.error
        fill(place / "ballast", leave=1_000_000)
        tools.wait_for(lambda: run.info.summary.get("checkpoint_error") or run.info.over)
        assert "MB needed" in run.info.summary["checkpoint_error"], run.info.error
        if reaction == "pause":
            tools.wait_for(lambda: run.status == "paused")
            assert "not saved" in run.info.message
        else:
            fill(place / "more", leave=0)  # now nothing can be told either, and training goes on
            time.sleep(1.5)
            (place / "more").unlink()
        saved = run.info.summary["saved_step"]
        (place / "ballast").unlink()
        tools.wait_for(lambda: run.info.summary["saved_step"] > saved or run.info.over)
        tools.wait_for(lambda: run.info.summary["checkpoint_error"] == "" or run.info.over)
        assert run.status != "failed", run.info.error
    finally:
        for name in ("ballast", "more"):
            (place / name).unlink(missing_ok=True)
        if not run.info.over:
            run.stop()
            run.wait(300)
    steps = [step for step, _ in tools.series(run, "train", "loss")]
    assert run.status == "stopped" and steps == list(range(1, len(steps) + 1))


def fill(path, leave: int) -> None:
    """Write a file until the disk has only so many bytes left."""
    free = os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize
    with contextlib.suppress(OSError), open(path, "wb") as file:
        file.write(bytes(max(0, free - leave)))
        file.flush()
        while leave == 0:
            file.write(bytes(4096))
            file.flush()


# --- no memory, no answer -------------------------------------------------------------------------------------------


def test_oom_is_a_message_and_nobody_else_dies(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_MEMORY", "1e9")
    model = lk.models["mlp"](widths=(100_000,))
    run = lk.fit(lk.load("digits"), model, folder=tmp_path, detach=True, epochs=1, batch_size=1024)
    with pytest.raises(lk.LabkitError, match="failed"):
        run.wait(300)
    info = run.info
    assert "RESOURCE_EXHAUSTED" in info.error, info.traceback
    assert (
        "at a batch of 1024 × 8 × 8 × 1. Try batch_size=512; or accumulate=2" in info.cure
        and "smaller" in info.cure
    )
    monkeypatch.delenv("LABKIT_MEMORY")
    run.start(detach=True)  # with the memory it needs the same run goes on
    run.wait(300)
    assert run.status == "finished" and run.predict(lk.load("digits")["train"]["image"][:2])


def fake(code: str):
    """A command that does ``code`` with a store and the id of a run."""
    head = "import os, signal, sys, time\nfrom labkit.runs.store import Store\n"
    return lambda store, run_id: lambda index: [
        sys.executable, "-c", f"{head}store, run, index = Store({str(store.folder)!r}), {run_id!r}, {index}\n{code}",
    ]  # fmt: skip


@pytest.fixture
def entered(tmp_path):
    store = Store(tmp_path)
    store.create("a", "first", experiment="[train]\nwatchdog = 1.0\n")
    return store


def test_the_supervisor_tells_of_a_process_that_was_killed(entered):
    command = fake("time.sleep(0.5); os.kill(os.getpid(), signal.SIGKILL)")(entered, "a")
    assert Supervisor(entered, "a", command=command).run() == 1
    info = entered.run("a")
    assert info.status == "failed" and "the process was killed by SIGKILL, peak memory 0." in info.error
    assert "half the batch_size" in info.cure and "resume" in info.cure


def test_the_supervisor_begins_again_three_times_and_not_for_ever(entered):
    code = (
        "store.update(run, summary={f'begun {index}': store.run(run).summary.get(f'begun {index}', 0) + 1})\n"
    )
    command = fake(code + "print('ValueError: what was wrong'); sys.exit(3 * index)")(entered, "a")
    assert Supervisor(entered, "a", 2, command).run() == 1
    info = entered.run("a")
    assert info.summary["begun 1"] == 4 and info.summary["restarts"] == 3 and info.status == "failed"
    assert (
        "exited with code 3: ValueError: what was wrong. It was restarted 3 times"
        in info.error.replace("process 1 of 2 ", "")
        or "process 0 of 2 exited with code 0" in info.error
    )


HANGING = """
import pathlib, sys, time
from labkit.train.loop import TrainingLoop
call, mark = TrainingLoop.run_steps, pathlib.Path(sys.argv[3])
def hang(self, portion):
    if self.step >= 14 and not mark.exists():
        mark.touch()
        time.sleep(1e6)
    return call(self, portion)
TrainingLoop.run_steps = hang
from labkit.runs.worker import main
sys.exit(main())
"""


def test_watchdog_dumps_kills_and_begins_again(finished, reviews, tmp_path, tools):
    store = Store(tmp_path / "lab")
    run = again(finished, store, reviews, watchdog=3.0)
    words = [sys.executable, "-c", HANGING, str(store.folder), run.id, str(tmp_path / "hung")]
    store.update(run.id, status="preparing")
    assert Supervisor(store, run.id, command=lambda index: words).run() == 0
    info = run.info
    assert info.status == "finished" and info.summary["restarts"] == 1
    seconds = float(info.summary["restarted_because"].split()[3])
    assert info.summary["restarted_because"].startswith("no step for") and seconds < 13
    assert "in hang" in (info.folder / "stacks.txt").read_text()
    tools.same_run(run, finished)


# --- asked to go, and left alone --------------------------------------------------------------------------------------


def test_sigterm_saves_and_ends_with_code_0(finished, reviews, tmp_path, tools):
    run = again(finished, Store(tmp_path), reviews, epochs=500)
    command = [sys.executable, "-m", "labkit.runs.supervisor", str(tmp_path), run.id]
    run.store.update(run.id, status="preparing")
    with subprocess.Popen(command) as supervisor:
        tools.wait_for(lambda: run.info.step > 2 or run.info.over)
        assert run.info.pid not in (os.getpid(), supervisor.pid)
        begin = time.monotonic()
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(60) == 0 and time.monotonic() - begin < 30
    assert run.status == "stopped" and run.info.summary["saved_step"] == run.info.step
    assert run.predict(["dull"])[0].confidence > 0.5 - 1e-6


def test_kernel_restarts_and_interrupts_do_not_reach_a_worker(finished, reviews, tmp_path, tools):
    from jupyter_client.manager import KernelManager

    run = again(finished, Store(tmp_path), reviews, epochs=500, watchdog=0.0)
    opened = f"import labkit as lk; run = lk.open_run({run.id!r}, {str(tmp_path)!r})"
    kernel = KernelManager(kernel_name="python3")
    kernel.start_kernel(env=dict(os.environ))
    client = kernel.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=120)
        assert said(client, f"{opened}; run.start(detach=True); print('begun')") == "begun"
        tools.wait_for(lambda: run.info.step > 2 or run.info.over)
        worker = run.info.pid
        for _ in range(10):
            kernel.interrupt_kernel()
            time.sleep(0.05)
        kernel.restart_kernel(now=True)
        client.wait_for_ready(timeout=120)
        step = run.info.step
        found = said(
            client, f"{opened}; import time; print(run.info.step, run.status, time.process_time())"
        ).split()
        assert int(found[0]) >= step and found[1] in ("running", "evaluating", "saving")
        assert (
            float(found[2]) < 10
        )  # seconds of the processor: a fresh kernel has started and imported labkit in them
        tools.wait_for(lambda: run.info.step > step or run.info.over)
        assert run.info.pid == worker and said(client, "print(run.stop() > 0)") == "True"
        run.wait(300)
        assert run.status == "stopped"
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)


def said(client, code: str) -> str:
    """What a cell prints."""
    lines: list[str] = []

    def hear(message) -> None:
        content = message["content"]
        if message["msg_type"] == "stream" and content["name"] == "stdout":
            lines.append(content["text"])
        elif message["msg_type"] == "error":
            lines.append("\n".join(content["traceback"]))

    client.execute_interactive(code, timeout=120, output_hook=hear)
    return "".join(lines).strip()


def test_a_run_whose_interpreter_ends_under_it_is_interrupted_not_failed(tmp_path: Path) -> None:
    """As where a kernel is restarted: thread pools refuse work while the thread that trains goes on."""
    script = (
        "import sys, time\nimport labkit as lk\nrows = lk.load('digits').sample(300, seed=0)\n"
        "settings = dict(epochs=100_000, batch_size=16, evaluate_every=20, background=True, folder=sys.argv[1])\n"
        "run = lk.fit(rows, 'mlp', **settings)\n"
        "while run.info.step < 50:\n    time.sleep(0.05)\nprint(run.id)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    info = Store(tmp_path).run(done.stdout.strip())
    assert (info.status, info.error) == ("lost", "") and info.step >= 50, info.error
    assert "resume" in info.cure
