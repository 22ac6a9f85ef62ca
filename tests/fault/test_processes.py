"""Several processes at one run: the numbers of one, whoever of them dies, and files for those who start them."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

import labkit as lk
from labkit.cli.main import app
from labkit.core import manifest
from labkit.core.config import dumps
from labkit.core.errors import ConfigError, RunError
from labkit.data.io.load import open_rows
from labkit.runs import launch_scripts
from labkit.runs.store import RunInfo, Store
from labkit.train.process_group import (
    CLUSTER,
    COORDINATOR,
    COUNT,
    INDEX,
    ProcessGroup,
    cluster_settings,
    join,
    with_others,
)

TWO_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}


def labkit(*words: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "labkit", *words], env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def experiment(finished, tmp_path_factory):
    """The file of an experiment of four epochs."""
    path = tmp_path_factory.mktemp("experiment") / "experiment.toml"
    changed = finished.experiment.replace(train=finished.experiment.train.replace(epochs=4, keep="last"))
    path.write_text(dumps(changed), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def reference(experiment, tmp_path_factory):
    """The run of one process on two devices."""
    folder = tmp_path_factory.mktemp("reference")
    labkit("train", str(experiment), "--folder", str(folder), **TWO_DEVICES)
    run = lk.runs(folder)[0]
    assert run.status == "finished" and run.info.summary["devices"] == 2
    return run


def rank(run, index: int) -> psutil.Process:
    """The worker process of this number."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if (
                "labkit.runs.worker" in words
                and run.id in words
                and process.environ().get(INDEX) == str(index)
            ):
                return process
    raise AssertionError(f"no process {index}")


def begun(run) -> str:
    """What the logs of the processes say, for a failed assertion."""
    logs = sorted(run.info.folder.glob("worker*.log"))
    return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in logs)


@pytest.mark.soak  # a minute and a half of waiting for a dead process
def test_dp_equal_and_a_dead_rank_is_overcome(experiment, reference, tmp_path, tools):
    """Two processes with a device each, one of them killed after the first checkpoint: the numbers of one process with
    two devices, to the last bit."""
    from labkit.api import create

    run = create(experiment, folder=tmp_path)
    run.start(processes=2)
    try:
        tools.wait_for(lambda: run.info.summary.get("saved_step") or run.info.over)
        assert not run.info.over, run.info.error + begun(run)
        rank(run, 1).kill()
        death = time.monotonic()
        tools.wait_for(lambda: run.info.summary.get("restarts") or run.info.over)
        assert time.monotonic() - death < 10 and not run.info.over, run.info.error
        run.wait(600)
    finally:
        if not run.info.over:
            os.kill(run.info.pid, signal.SIGKILL)
    info = run.info
    assert info.status == "finished" and info.summary["restarts"] == 1, begun(run)
    assert "process 1 of 2 was killed by SIGKILL" in info.summary["restarted_because"]
    assert info.summary["devices"] == 2 and info.summary["parts"] == 2
    tools.same_run(run, reference)
    assert tools.series(run, "train", "gradient_norm") == tools.series(reference, "train", "gradient_norm")


#: A callback whose module writes down which process hashes rows, by its number.
COUNTING = """
import os
from functools import cached_property

import labkit as lk
from labkit.data.dataset import SplitDataset

whole = SplitDataset.fingerprint.func


def counted(rows):
    with open(os.environ["HASHED"], "a") as file:
        print(os.environ[os.environ["INDEX_OF_PROCESS"]], file=file)
    return whole(rows)


SplitDataset.fingerprint = cached_property(counted)
SplitDataset.fingerprint.__set_name__(SplitDataset, "fingerprint")


class Counting(lk.Callback):
    pass
"""


def test_rows_are_hashed_by_the_leading_process_only(tmp_path, monkeypatch):
    """Two processes; the others get the hash from the first one, which seals it with the checkpoints."""
    from labkit.api import create

    lines = ["x,y,label", *(f"{n % 7},{n % 5},{'ab'[n % 7 > n % 5]}" for n in range(80))]
    (tmp_path / "points.csv").write_text("\n".join(lines))
    (tmp_path / "counting.py").write_text(COUNTING)
    (tmp_path / "experiment.toml").write_text(f"""
callbacks = [{{class = "counting:Counting"}}]
[model]
name = "mlp"
[data]
source = {json.dumps(str(tmp_path / "points.csv"))}
options = {{label = "label", features = true}}
accept_leakage = true
[train]
epochs = 1
batch_size = 16
""")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("HASHED", str(tmp_path / "hashed"))
    monkeypatch.setenv("INDEX_OF_PROCESS", INDEX)
    run = create(tmp_path / "experiment.toml", folder=tmp_path)
    run.start(processes=2)
    run.wait(600)
    assert run.status == "finished" and run.info.summary["devices"] == 2, begun(run)
    assert set((tmp_path / "hashed").read_text().split()) == {"0"}
    sealed = manifest.read(run.info.folder / "checkpoints" / f"step_{run.info.summary['saved_step']}")
    assert sealed is not None and sealed["rows"] == open_rows(run.info.folder / "data").fingerprint


@pytest.mark.soak
def test_elastic_two_processes_then_one_then_two(experiment, reference, tmp_path, tools):
    from labkit.api import create

    run = create(experiment, folder=tmp_path)
    run.start(processes=2)
    tools.wait_for(lambda: run.info.step > 15 or run.info.over)
    supervisor = psutil.Process(rank(run, 0).ppid())
    begin = time.monotonic()
    supervisor.terminate()
    run.wait(120)
    assert run.status == "stopped" and time.monotonic() - begin < 30, begun(run)
    first = run.info.step
    code = "import sys, labkit as lk; run = lk.open_run(sys.argv[1], sys.argv[2]); run.start(); import time\n"
    code += "while run.info.step < int(sys.argv[3]) + 10: time.sleep(.01)\nrun.stop(); run.wait()"
    command = [sys.executable, "-c", code, run.id, str(tmp_path), str(first)]
    subprocess.run(command, env={**os.environ, **TWO_DEVICES}, check=True, timeout=600)
    assert run.status == "stopped" and run.info.step > first and run.info.summary["devices"] == 2
    labkit("launch", "local", "-n", "2", "--resume", run.id, "--folder", str(tmp_path))
    assert run.status == "finished"
    for name in ("loss", "gradient_norm", "f1"):
        assert tools.series(run, "train", name) == tools.series(reference, "train", name)
    for name in ("loss", "f1"):  # a run that is stopped is evaluated there as well
        assert set(tools.series(reference, "validation", name)) <= set(tools.series(run, "validation", name))
    ours, theirs = ((r.info.folder / "model" / "model.safetensors").read_bytes() for r in (run, reference))
    assert ours == theirs


@pytest.mark.soak
def test_sigterm_ends_two_processes_saved_and_with_code_0(experiment, tmp_path, tools):
    words = [
        sys.executable,
        "-m",
        "labkit",
        "launch",
        "local",
        "-n",
        "2",
        str(experiment),
        "--folder",
        str(tmp_path),
    ]
    with open(tmp_path / "said.txt", "w") as said:
        process = subprocess.Popen(words, stdout=said, stderr=said)
    tools.wait_for(
        lambda: process.poll() is not None or (len(lk.runs(tmp_path)) and lk.runs(tmp_path)[0].info.step > 8)
    )
    run, begin = lk.runs(tmp_path)[0], time.monotonic()
    process.terminate()
    assert process.wait(60) == 0, (tmp_path / "said.txt").read_text()
    assert time.monotonic() - begin < 30
    assert run.status == "stopped" and run.info.summary["saved_step"] == run.info.step


# --- agreeing -----------------------------------------------------------------------------------------------------


def test_one_process_agrees_with_itself():
    group = ProcessGroup()
    assert group.lead and group.broadcast({"a": [1, None]}) == {"a": [1, None]} and join({}) == group
    with group.in_turn():
        pass


def test_what_a_launcher_says_is_passed_on_to_jax():
    told = {COORDINATOR: "127.0.0.1:123", COUNT: "2", INDEX: "1"}
    local = cluster_settings(None, told[COORDINATOR], told)
    assert local["coordinator_bind_address"] == "127.0.0.1:123"  # not on every interface
    assert (local["num_processes"], local["process_id"], local["cluster_detection_method"]) == (
        2,
        1,
        "deactivate",
    )
    assert "coordinator_bind_address" not in cluster_settings(
        None, "pod-0.set:8476", {**told, COORDINATOR: "pod-0.set:8476"}
    )
    assert cluster_settings("slurm", None, {})["cluster_detection_method"] == "slurm"
    with pytest.raises(RunError, match=f"{COORDINATOR} is set, but {COUNT}"):
        cluster_settings(None, "127.0.0.1:1", {COORDINATOR: "127.0.0.1:1"})


# --- files for schedulers -----------------------------------------------------------------------------------------


@pytest.fixture
def entered(tmp_path):
    return Store(tmp_path), RunInfo(
        "20260101-000000-abc123", "Films & series", tmp_path / "20260101-000000-abc123"
    )


def test_the_file_for_sbatch(entered, tmp_path):
    store, info = entered
    text = launch_scripts.slurm(store, info, nodes=2, tasks=4, time="1-00:00:00", gpus=4)
    assert text.replace(sys.executable, "PYTHON").replace(str(tmp_path), "LAB") == SBATCH
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
    with pytest.raises(ConfigError, match=r"time = '4h; rm' is not a SLURM time"):
        launch_scripts.slurm(store, info, 2, time="4h; rm")


SBATCH = """\
#!/bin/bash
#SBATCH --job-name=labkit-films-series
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --time=1-00:00:00
#SBATCH --gpus-per-node=4
#SBATCH --signal=TERM@120
#SBATCH --output=LAB/20260101-000000-abc123/slurm-%j.log
#SBATCH --requeue
#SBATCH --open-mode=append

export LABKIT_CLUSTER=slurm
srun --kill-on-bad-exit=1 PYTHON -m labkit.runs.worker LAB 20260101-000000-abc123
code=$?
# 75: stopped by the signal and saved; it goes on in the next job.
[ "$code" -eq 75 ] && scontrol requeue "$SLURM_JOB_ID"
exit "$code"
"""


def test_the_script_for_mpirun(entered, tmp_path):
    text = launch_scripts.mpi(*entered, processes=3)
    run = f"exec mpirun -n 3 {sys.executable} -m labkit.runs.worker {tmp_path} 20260101-000000-abc123"
    assert text == f"#!/bin/bash\nexport {CLUSTER}=mpi4py\n{run}\n"


def test_the_jobset_for_kubernetes(entered):
    text = launch_scripts.jobset(entered[1], 3, "registry.example/labkit:1", "lab-claim")
    found = yaml.safe_load(text)
    assert (found["apiVersion"], found["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    name = found["metadata"]["name"]
    assert name == "labkit-films-series-abc123" and found["spec"]["failurePolicy"] == {"maxRestarts": 3}
    job = found["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert (job["parallelism"], job["completions"], job["completionMode"]) == (3, 3, "Indexed")
    pod = job["template"]["spec"]["containers"][0]
    assert pod["command"] == ["python", "-m", "labkit.runs.worker", "/lab", "20260101-000000-abc123"]
    told = {item["name"]: item.get("value") for item in pod["env"]}
    assert told == {COORDINATOR: f"{name}-worker-0-0.{name}:8476", COUNT: "3", INDEX: None}
    with pytest.raises(ConfigError, match="is not a valid Kubernetes name"):
        launch_scripts.jobset(entered[1], 3, "x: [y]", "claim")


@pytest.mark.parametrize("gpus", [0, 2])
def test_the_trainjob_for_kubeflow(entered, gpus):
    text = launch_scripts.trainjob(entered[1], 3, "registry.example/labkit:1", "lab-claim", gpus)
    found = yaml.safe_load(text)
    assert (found["apiVersion"], found["kind"]) == ("trainer.kubeflow.org/v1alpha1", "TrainJob")
    spec = found["spec"]
    assert spec["runtimeRef"] == {"name": "jax-distributed"} and spec["trainer"]["numNodes"] == 3
    assert spec["trainer"]["command"][-2:] == ["/lab", "20260101-000000-abc123"]
    assert spec["trainer"].get("resourcesPerNode") == ({"limits": {"nvidia.com/gpu": "2"}} if gpus else None)
    pod = spec["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]
    pod = pod["template"]["spec"]["template"]["spec"]
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "lab-claim"}
    assert pod["containers"][0]["volumeMounts"] == [{"name": "lab", "mountPath": "/lab"}]
    with pytest.raises(ConfigError, match="is not a valid Kubernetes name"):
        launch_scripts.trainjob(entered[1], 3, "image", "x: [y]")


@pytest.mark.peers
def test_kubeflow_reads_its_trainjob(entered):
    models = pytest.importorskip("kubeflow_trainer_api.models")
    for gpus in (0, 2):
        given = yaml.safe_load(launch_scripts.trainjob(entered[1], 3, "image", "claim", gpus))
        read = models.TrainerV1alpha1TrainJob.from_dict(given)
        assert read.to_dict() == given  # no key is unknown to it


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        (("lead:1", "4", "2"), {"coordinator_address": "lead:1", "num_processes": 4, "process_id": 2}),
        (("lead:1", "4", ""), None),  # not all three: JAX's own variable alone means no process group
    ],
)
def test_the_variables_of_kubeflow_are_read(environment, wanted):
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    given = dict(zip(names, environment, strict=True))
    found = with_others(given)
    assert (COORDINATOR in found) == (wanted is not None)
    if wanted is not None:
        assert cluster_settings(None, found[COORDINATOR], found).items() >= wanted.items()
        own = {**given, COORDINATOR: "mine:2", COUNT: "2", INDEX: "0"}  # labkit's own win
        assert with_others(own) is own


def test_the_driver_for_ray_is_python_with_the_run_in_it(entered, tmp_path):
    text = launch_scripts.ray(*entered, 3, gpus=1, cpus=4)
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert values["RESOURCES"] == {"CPU": 4, "GPU": 1}
    assert f'LAB, RUN, PROCESSES, RESTARTS = "{tmp_path}", "20260101-000000-abc123", 3, 3' in text
    assert all(f'"{name}"' in text for name in (COORDINATOR, COUNT, INDEX)) and "@" not in re.sub(
        r"@ray\.", "", text
    )


@pytest.mark.soak
@pytest.mark.parametrize("kill", [False, True], ids=["to the end", "a worker killed"])
def test_ray_trains_the_same_bits(kill, experiment, reference, tmp_path, tools):
    """Two workers of Ray on this machine, one of them perhaps killed: the numbers of one process with two devices."""
    pytest.importorskip("ray")
    from labkit.api import create

    run = create(experiment, folder=tmp_path / "lab")
    script = tmp_path / "launch.py"
    script.write_text(launch_scripts.ray(run.store, run.info, 2))
    driver = subprocess.Popen([sys.executable, str(script)])
    try:
        if kill:
            tools.wait_for(lambda: run.info.summary.get("saved_step") or run.info.over)
            rank(run, 1).kill()
        assert driver.wait(900) == 0
    finally:
        driver.kill()
    assert run.info.status == "finished" and run.info.summary["devices"] == 2
    tools.same_run(run, reference)


def test_the_commands_write_these_files(experiment, tmp_path):
    from typer.testing import CliRunner

    words = ["launch", "slurm", str(experiment), "--folder", str(tmp_path), "--out", str(tmp_path / "job.sh")]
    done = CliRunner().invoke(app, words)
    run = lk.runs(tmp_path)[0]
    assert done.exit_code == 0 and run.status == "created", done.output
    assert f"labkit.runs.worker {tmp_path} {run.id}" in Path(tmp_path / "job.sh").read_text()
    assert run.info.summary["classes"] == ["negative", "positive"]
    assert set(run.info.summary) == {"classes", "created_with"}  # nothing was done yet
