"""Cluster files for multi-process runs: sbatch, mpirun, Kubernetes JobSet, Kubeflow TrainJob, Ray driver.

 labkit schedules nothing itself. The files start :mod:`labkit.runs.worker` so many times; ``jax.distributed``
lets the processes find each other; whoever starts them again after a failure has the run go on from its
newest checkpoint. The lab folder must be visible to all of them, on a file system whose locks SQLite can
trust.
"""

from __future__ import annotations

import json
import re
import shlex
import sys

from labkit.core.errors import ConfigError
from labkit.i18n import _
from labkit.runs.store import RunInfo, Store
from labkit.runs.worker import AGAIN
from labkit.train.process_group import CLUSTER, COORDINATOR, COUNT, INDEX

#: Port of the coordinator inside a Kubernetes cluster.
PORT = 8476


def slurm(
    store: Store, info: RunInfo, nodes: int, tasks: int = 1, time: str = "04:00:00", gpus: int = 0
) -> str:
    """A file for ``sbatch``: SIGTERM two minutes before the end saves the run, which is then queued again.

    Args:
        store: the lab folder, on a file system that all nodes share.
        info: the run.
        nodes: how many machines.
        tasks: processes on each.
        time: the longest time of one job, as SLURM writes it.
        gpus: on each node.

    Raises:
        ConfigError: a time that SLURM would not read.
    """
    if not re.fullmatch(r"(\d+-)?\d+(:\d\d){0,2}", time):
        raise ConfigError(_("time = {time!r} is not a SLURM time such as 04:00:00 or 2-12:00:00."), time=time)
    options = {
        "job-name": f"labkit-{_slug(info.name)}",
        "nodes": nodes,
        "ntasks-per-node": tasks,
        "time": time,
    }
    options |= {"gpus-per-node": gpus} if gpus else {}
    options |= {"signal": "TERM@120", "output": f"{info.folder}/slurm-%j.log"}
    lines = [f"#SBATCH --{name}={shlex.quote(str(value))}" for name, value in options.items()]
    return "\n".join([
        "#!/bin/bash", *lines, "#SBATCH --requeue", "#SBATCH --open-mode=append", "",
        f"export {CLUSTER}=slurm",
        f"srun --kill-on-bad-exit=1 {_command(store, info)}",
        "code=$?",
        f"# {AGAIN}: stopped by the signal and saved; it goes on in the next job.",
        f'[ "$code" -eq {AGAIN} ] && scontrol requeue "$SLURM_JOB_ID"',
        'exit "$code"', "",
    ])  # fmt: skip


def mpi(store: Store, info: RunInfo, processes: int) -> str:
    """A shell script around ``mpirun``; the processes need the package mpi4py (``pip install
    'labkit[mpi]'``)."""
    run = f"exec mpirun -n {processes} {_command(store, info)}"
    return f"#!/bin/bash\nexport {CLUSTER}=mpi4py\n{run}\n"


def jobset(info: RunInfo, processes: int, image: str, claim: str, lab: str = "/lab") -> str:
    """A Kubernetes JobSet: when a pod fails, all restart.

    Args:
        info: the run; its lab folder is what ``claim`` holds.
        processes: pods.
        image: a container image that has labkit.
        claim: name of a persistent volume claim that all pods may write (ReadWriteMany).
        lab: where the pods see it.

    Raises:
        ConfigError: a name that Kubernetes would not take.
    """
    _check_names(claim=claim, image=image)
    name = _kubernetes_name(info)
    return _filled(
        _JOBSET, NUMBER=processes, COUNT=str(processes), ADDRESS=f"{name}-worker-0-0.{name}:{PORT}",
        NAME=name, IMAGE=image, CLAIM=claim, LAB=lab, RUN=info.id,
    )  # fmt: skip


def trainjob(info: RunInfo, processes: int, image: str, claim: str, gpus: int = 0, lab: str = "/lab") -> str:
    """A TrainJob of Kubeflow's trainer (2.2 or later), by its runtime ``jax-distributed``, whose variables the
    processes read (:mod:`labkit.train.process_group`).

    Args:
        info, processes, image, claim, lab: as of :func:`jobset`.
        gpus: of each pod.

    Raises:
        ConfigError: a name that Kubernetes would not take.
    """
    _check_names(claim=claim, image=image)
    resources = _filled(_GPUS, GPUS=str(gpus)) if gpus else ""
    return _filled(
        _TRAINJOB, NAME=_kubernetes_name(info), IMAGE=image, NUMBER=processes, CLAIM=claim, LAB=lab, RUN=info.id,
    ).replace("%RESOURCES%\n", resources)  # fmt: skip


def ray(store: Store, info: RunInfo, processes: int, gpus: int = 0, cpus: int = 1) -> str:
    """A Python file that starts the processes on a Ray cluster: ``python FILE`` on its head node, or as a Ray job.

    Where a process dies, all are started again, up to three times. Ray itself initialises JAX for GPUs and TPUs
    only; here the processes connect by themselves, on CPUs too.

    Args:
        store: the lab folder, on a file system that all nodes share.
        info: the run.
        processes: how many.
        gpus, cpus: of each process.
    """
    return _filled(
        _RAY, LAB=str(store.folder), RUN=info.id, NUMBER=processes, GPUS=gpus, CPUS=cpus,
        COORDINATOR=COORDINATOR, COUNT=COUNT, INDEX=INDEX,
    )  # fmt: skip


def _check_names(**names: str) -> None:
    for what, name in names.items():
        if not re.fullmatch(r"[A-Za-z0-9][\w./:@-]{0,252}", name):
            raise ConfigError(_("{what} = {name!r} is not a valid Kubernetes name."), what=what, name=name)


def _kubernetes_name(info: RunInfo) -> str:
    return f"labkit-{_slug(info.name)[:20]}-{info.id[-6:]}".strip("-")


def _filled(template: str, **values: str | int) -> str:
    """A template with its ``@NAMES@`` replaced by values in JSON, which YAML and Python read too."""
    return re.sub("@([A-Z]+)@", lambda found: json.dumps(values[found[1]]), template)


_JOBSET = f"""\
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: @NAME@
spec:
  failurePolicy:
    maxRestarts: 3
  replicatedJobs:
    - name: worker
      replicas: 1
      template:
        spec:
          parallelism: @NUMBER@
          completions: @NUMBER@
          completionMode: Indexed
          backoffLimit: 0
          template:
            spec:
              restartPolicy: Never
              containers:
                - name: labkit
                  image: @IMAGE@
                  command: ["python", "-m", "labkit.runs.worker", @LAB@, @RUN@]
                  env:
                    - name: {COORDINATOR}
                      value: @ADDRESS@
                    - name: {COUNT}
                      value: @COUNT@
                    - name: {INDEX}
                      valueFrom:
                        fieldRef:
                          fieldPath: metadata.annotations['batch.kubernetes.io/job-completion-index']
                  volumeMounts:
                    - name: lab
                      mountPath: @LAB@
              volumes:
                - name: lab
                  persistentVolumeClaim:
                    claimName: @CLAIM@
"""


_GPUS = """\
    resourcesPerNode:
      limits:
        nvidia.com/gpu: @GPUS@
"""
_TRAINJOB = """\
apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainJob
metadata:
  name: @NAME@
spec:
  runtimeRef:
    name: jax-distributed
  trainer:
    image: @IMAGE@
    numNodes: @NUMBER@
    command: ["python", "-m", "labkit.runs.worker", @LAB@, @RUN@]
%RESOURCES%
  runtimePatches:
    - manager: labkit.dev/launch
      trainingRuntimeSpec:
        template:
          spec:
            replicatedJobs:
              - name: node
                template:
                  spec:
                    template:
                      spec:
                        containers:
                          - name: node
                            volumeMounts:
                              - name: lab
                                mountPath: @LAB@
                        volumes:
                          - name: lab
                            persistentVolumeClaim:
                              claimName: @CLAIM@
"""
_RAY = '''\
"""Train a run of labkit on a Ray cluster: python FILE on its head node, or as a Ray job."""

import ctypes
import os
import signal
import socket
import subprocess
import sys

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

LAB, RUN, PROCESSES, RESTARTS = @LAB@, @RUN@, @NUMBER@, 3
RESOURCES = {"CPU": @CPUS@, "GPU": @GPUS@}


def with_parent():
    """Have Linux end the process of training where the process of Ray that started it is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@ray.remote
class Worker:
    def address(self):
        with socket.socket() as free:
            free.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"

    def train(self, coordinator, index):
        variables = {@COORDINATOR@: coordinator, @COUNT@: str(PROCESSES), @INDEX@: str(index)}
        command = [sys.executable, "-m", "labkit.runs.worker", LAB, RUN]
        return subprocess.run(command, env={**os.environ, **variables}, preexec_fn=with_parent).returncode


def attempt():
    """Whether all processes ended well."""
    group = placement_group([{name: count for name, count in RESOURCES.items() if count}] * PROCESSES, "SPREAD")
    ray.get(group.ready())
    workers = [
        Worker.options(
            num_cpus=RESOURCES["CPU"], num_gpus=RESOURCES["GPU"],
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index),
        ).remote()
        for index in range(PROCESSES)
    ]
    try:
        address = ray.get(workers[0].address.remote())
        codes = ray.get([worker.train.remote(address, index) for index, worker in enumerate(workers)])
        print("exit codes", codes)
        return not any(codes)
    except ray.exceptions.RayError as error:
        print(f"a process was lost: {error}")
        return False
    finally:
        for worker in workers:
            ray.kill(worker)
        remove_placement_group(group)


if __name__ == "__main__":
    ray.init()
    sys.exit(0 if any(attempt() for _ in range(RESTARTS + 1)) else 1)
'''


def _command(store: Store, info: RunInfo) -> str:
    return shlex.join([sys.executable, "-m", "labkit.runs.worker", str(store.folder), info.id])


def _slug(name: str) -> str:
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "run"
