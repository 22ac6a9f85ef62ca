"""Cluster scripts for multi-process runs: sbatch file, mpirun command, Kubernetes JobSet.

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
    for what, name in (("claim", claim), ("image", image)):
        if not re.fullmatch(r"[A-Za-z0-9][\w./:@-]{0,252}", name):
            raise ConfigError(_("{what} = {name!r} is not a valid Kubernetes name."), what=what, name=name)
    name = f"labkit-{_slug(info.name)[:20]}-{info.id[-6:]}".strip("-")
    values: dict[str, str | int] = {
        "NUMBER": processes, "COUNT": str(processes), "ADDRESS": f"{name}-worker-0-0.{name}:{PORT}",
        "NAME": name, "IMAGE": image, "CLAIM": claim, "LAB": lab, "RUN": info.id,
    }  # fmt: skip
    return re.sub("@([A-Z]+)@", lambda found: json.dumps(values[found[1]]), _JOBSET)


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


def _command(store: Store, info: RunInfo) -> str:
    return shlex.join([sys.executable, "-m", "labkit.runs.worker", str(store.folder), info.id])


def _slug(name: str) -> str:
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "run"
