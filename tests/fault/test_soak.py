"""Many kills, full disks and clients: what holds once must hold always. ``python -m pytest -m soak tests/fault -s``."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import labkit as lk
from labkit.core.config import dumps
from labkit.runs.handle import RunHandle
from labkit.runs.store import Store

pytestmark = pytest.mark.soak


# --- kills --------------------------------------------------------------------------------------------------------

#: Kind of run → what differs from the usual settings.
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulated, averaged and packed": {"accumulate": 2, "ema": 0.9, "packing": "always"},
    "LoRA with patience": {"trainable": "lora", "patience": 3, "evaluate_every": 5, "epochs": 3},
    "tabular": {},
}
#: Phase → events of it that may pass before the kill, at most; and where each run is killed, in this order.
PHASES = {"compile": 2, "between": 12, "save": 40, "evaluate": 0, "model": 12}
ORDER = ("compile", "between", "save", "between", "evaluate", "save", "compile", "evaluate", "model", "model")
KILLS = int(os.environ.get("LABKIT_KILLS", "40"))  # of each kind


@pytest.fixture(scope="module")
def table() -> lk.Rows:
    """Rows of numbers and words."""
    drawn = np.random.default_rng(0)
    numbers = drawn.normal(size=(300, 3))
    rows = [
        {"a": float(a), "b": float(b), "c": float(c), "d": "xyz"[n % 3], "label": "uv"[int(a + b * c > 0)]}
        for n, (a, b, c) in enumerate(numbers)
    ]
    return lk.load(rows, features=True, label="label").split(validation=0.2, seed=0)


@pytest.fixture(params=KINDS, scope="module")
def unharmed(request, reviews, tiny, settings, table, tmp_path_factory):
    """A run of a kind that has ended by itself, and its rows."""
    folder, changes = tmp_path_factory.mktemp("unharmed"), KINDS[request.param]
    if request.param == "tabular":
        model, rows, given = lk.models["mlp"](preset="small"), table, {"epochs": 4, "batch_size": 32}
    else:
        model, rows, given = tiny, reviews, {**settings, **changes}
    run = lk.fit(rows, model, folder=folder, background=False, save_minutes=0.0, **given)
    assert run.status == "finished", "the run was cut"
    return run, rows, request.param


def test_kills_in_every_phase_change_no_bit(unharmed, killer, tmp_path, tools):
    finished, rows, kind = unharmed
    drawn, kills, ended, begin = np.random.default_rng(len(kind)), Counter[str](), 0, time.monotonic()
    while kills.total() < KILLS:
        run = RunHandle.create(Store(tmp_path / str(ended)), finished.experiment, rows)
        for phase in ORDER:
            if kill(
                killer,
                run,
                phase,
                int(drawn.integers(PHASES[phase] + 1)),
                float(drawn.choice([0, 0, 0.002, 0.02])),
            ):
                kills[phase] += 1
                assert run.status == "lost"
            if run.status == "finished":
                break  # before so many events of the phase, or the kill came too late
        else:
            run.resume().wait(600)
        tools.same_run(run, finished)
        ended += 1
    print(f"\n{kind}: {kills.total()} kills of {ended} runs, {dict(kills)}, {time.monotonic() - begin:.0f} s")
    assert set(kills) == set(PHASES) or KILLS < 10


def kill(killer: subprocess.Popen[str], run: RunHandle, phase: str, count: int, seconds: float) -> bool:
    """Work on a run in a process that is killed in a phase; False where the run ended before."""
    assert killer.stdin and killer.stdout
    print(run.store.folder, run.id, phase, count, seconds, file=killer.stdin, flush=True)
    code = int(killer.stdout.readline())
    assert code in (-signal.SIGKILL, 3), code
    if code != 3 and not run.info.over:
        run.store.update(run.id, heartbeat=1.0)  # long ago
    return code != 3


@pytest.fixture(scope="module")
def killer() -> Iterator[subprocess.Popen[str]]:
    """The process whose children work on runs and are killed."""
    words = [sys.executable, str(Path(__file__).with_name("kill_process.py"))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


# --- a full disk ----------------------------------------------------------------------------------------------------

#: Seconds that a run may take in all; at its end it waits for room (``WAIT`` of ``full_process.py``).
PATIENCE = 300
#: Step after which the disk is full; bytes that are left; seconds until there is room again (-1: never).
FULL = [
    (step, left, seconds)
    for step in (0, 1, 11, 12, 23)
    for left, seconds in ((0, -1), (20_000, -1), (0, 3), (200_000, 20))
]


@pytest.mark.parametrize(("step", "left", "seconds"), FULL)
def test_a_full_disk_neither_hangs_nor_lies(finished, small_disk, tmp_path, tools, step, left, seconds):
    """``labkit train`` on a disk that fills up: it ends, its code and status agree with its folder, and with room again
    it goes on to the same model."""
    place, ballast, said = small_disk(24), tmp_path / "disk-24" / "ballast", tmp_path / "said"
    experiment = finished.experiment.replace(train=finished.experiment.train.replace(save_minutes=0.0))
    (tmp_path / "experiment.toml").write_text(dumps(experiment), encoding="utf-8")
    script = Path(__file__).with_name("full_process.py")
    words = [sys.executable, script, ballast, step, left, seconds, "train", tmp_path / "experiment.toml"]
    begin = time.monotonic()
    with open(said, "wb") as file:
        words = [*map(str, words), "--folder", str(place / "lab")]
        code = subprocess.run(words, stdout=file, stderr=file, timeout=PATIENCE).returncode
    text, full = said.read_text("utf-8", "replace"), ballast.exists()
    took = time.monotonic() - begin
    print(f"\nfull after step {step}, {left} bytes left, for {seconds} s: code {code}, {took:.0f} s")
    ballast.unlink(missing_ok=True)
    run = lk.runs(place / "lab")[0]
    assert "Traceback" not in text, text[-3000:]
    assert (code == 0) == (run.status == "finished") and run.info.over, (code, run.status, text[-2000:])
    assert code == 0 or (full and re.search("room|space", text)), text[-2000:]  # the cure
    steps = {int(path.name[5:]) for path in (run.info.folder / "checkpoints").glob("step_*")}
    saved = run.info.summary.get("saved_step")
    assert saved is None or int(saved) in steps, (saved, steps)
    if run.status != "finished":
        run.resume().wait(300)
    if any("checkpoint of the best evaluation" in warning for warning in run.info.summary["warnings"]):
        assert tools.series(run, "train", "loss") == tools.series(finished, "train", "loss")
        assert (
            run.info.summary["model_step"] == run.info.steps
        )  # not of the best evaluation, and the run says so
    else:
        tools.same_run(run, finished)


# --- many clients -----------------------------------------------------------------------------------------------------

TOKEN = "a-token-of-the-soak-tests"
CLIENTS, SLOW, PAIRS, REQUESTS = 200, 50, 15, 20


@contextlib.contextmanager
def served(finished: RunHandle, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """``labkit serve`` in a process of its own, and its port."""
    words = [
        sys.executable,
        "-m",
        "labkit",
        "serve",
        str(finished.export(folder)),
        "--port",
        "0",
        "--rate",
        "100000",
    ]
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, env={**os.environ, "LABKIT_TOKEN": TOKEN}
    )
    try:
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(3)]
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/predict\n", lines[0])
        assert found, lines
        assert asked(int(found[1])) == 200
        yield process, int(found[1])
    finally:
        process.kill()
        process.communicate()


def asked(port: int) -> int:
    """The status of a request; 0 where a connection was accepted and nothing came back, -1 where none was."""
    body = b'{"texts": ["a warm film"]}'
    head = (
        f"POST /predict HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    try:
        client = socket.create_connection(("127.0.0.1", port), 60)
    except ConnectionError:
        return -1
    with client:
        answer = b""
        try:
            client.sendall(head.encode() + body)
            while part := client.recv(2**16):
                answer += part
        except ConnectionError:
            return 0
    head, _, content = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]) if content and json.loads(content) else 0


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0, 3.0])
def test_sigterm_under_two_hundred_clients_loses_no_request(finished, tmp_path, seconds):
    with served(finished, tmp_path / "model") as (process, port), ThreadPoolExecutor(CLIENTS) as pool:
        counts: Counter[int] = Counter()

        def ask() -> None:
            while (status := asked(port)) >= 0:
                counts[status] += 1

        working = [pool.submit(ask) for _ in range(CLIENTS)]
        time.sleep(seconds)
        process.terminate()
        assert process.wait(60) == 0
        for each in working:
            each.result(60)
    print(f"\nSIGTERM after {seconds} s of {CLIENTS} clients: {dict(counts)}")
    assert counts[200] and counts[0] == 0 and set(counts) <= {0, 200, 503}


#: Slow clients in a process of their own, so that only the endpoint is shared with the one that is timed.
DRIP = """
import contextlib, socket, sys, time

clients = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10) for _ in range(int(sys.argv[2]))]
print("connected", flush=True)
for byte in b"POST /predict HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 1000\\r\\n\\r\\n" + b" " * 1000:
    for client in clients:
        with contextlib.suppress(OSError):
            client.sendall(bytes([byte]))
    time.sleep(0.05)
"""


def test_fifty_slow_clients_do_not_delay_one_with_a_token(finished, tmp_path):
    """Pairs of measurements, alternately without and with clients that send a byte at a time."""

    def timed(port: int) -> float:
        begin = time.monotonic()
        assert all(asked(port) == 200 for _ in range(REQUESTS))
        return time.monotonic() - begin

    with served(finished, tmp_path / "model") as (_, port):
        ratios = []
        for _ in range(PAIRS):
            alone = timed(port)
            words = [sys.executable, "-c", DRIP, str(port), str(SLOW)]
            with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as slow:
                assert slow.stdout is not None and slow.stdout.readline() == "connected\n"
                ratios.append(timed(port) / alone)
                slow.kill()
    print(f"\ntime with {SLOW} slow clients ÷ time without: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    assert np.median(ratios) <= 2
