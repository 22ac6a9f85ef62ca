"""Multi-process runs with ``jax.distributed``: the first process decides and writes.

 The others compute the same steps on their devices. Whatever depends on the clock or on somebody's command is
decided by the leading process and broadcast (:meth:`ProcessGroup.broadcast`), at the same place of the loop
in each.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit.core.errors import RunError
from labkit.i18n import _

#: What a launcher says to its processes: address of the first, how many there are, and which one this is …
COORDINATOR, COUNT, INDEX = "LABKIT_COORDINATOR", "LABKIT_PROCESSES", "LABKIT_PROCESS"
#: … or the cluster that JAX is to ask for all three ("slurm", "mpi4py", "k8s").
CLUSTER = "LABKIT_CLUSTER"
#: The same three as Kubeflow's trainer sets them; JAX itself reads only the first.
OTHERS = {COORDINATOR: "JAX_COORDINATOR_ADDRESS", COUNT: "JAX_NUM_PROCESSES", INDEX: "JAX_PROCESS_ID"}
#: Seconds of silence after which a process counts as dead among its group.
HEARTBEAT = 30
_LETTERS = 1024  # bytes of what is agreed on


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that work on a run, and which of them this is."""

    count: int = 1
    index: int = 0

    @property
    def lead(self) -> bool:
        """Whether this one decides, saves and writes."""
        return self.index == 0

    def broadcast(self, value: object) -> Any:
        """The leading process's ``value`` (what JSON holds, below a kilobyte) in all of them; all must call
        it."""
        if self.count == 1:
            return value
        from jax.experimental import multihost_utils

        letters = np.zeros(_LETTERS, np.uint8)
        if self.lead:
            text = json.dumps(value).encode()
            if len(text) > _LETTERS:
                raise RunError(
                    _("cannot broadcast {n_text} bytes at once; the maximum is {most}."),
                    n_text=len(text),
                    most=_LETTERS,
                )
            letters[: len(text)] = np.frombuffer(text, np.uint8)
        told = np.asarray(multihost_utils.broadcast_one_to_all(letters))
        return json.loads(told.astype(np.uint8).tobytes().rstrip(b"\0"))

    @contextlib.contextmanager
    def in_turn(self) -> Iterator[None]:
        """The leading process goes first; the others follow when it is through, and find in caches what it
        made."""
        if not self.lead:
            self.broadcast(None)
        yield
        if self.lead:
            self.broadcast(None)


SINGLE = ProcessGroup()


def join(environment: Mapping[str, str] = os.environ) -> ProcessGroup:
    """Join the processes that a launcher has started with this one; before any other use of JAX.

    Raises:
        RunError: a variable is missing or no number; the others do not come.
    """
    environment = with_others(environment)
    cluster, address = environment.get(CLUSTER), environment.get(COORDINATOR)
    if not cluster and not address:
        return SINGLE
    import jax

    jax.config.update(
        "jax_enable_preemption_service", False
    )  # it would catch SIGTERM, which ends a run saved
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            **cluster_settings(cluster, address, environment),
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=30,
        )
    except (RuntimeError, ValueError) as error:
        raise RunError(
            _("the processes of this run cannot connect to each other: {error}"), error=error
        ) from error
    return ProcessGroup(jax.process_count(), jax.process_index())


def with_others(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment with labkit's variables where only those of Kubeflow are set, all three of them."""
    if (
        environment.get(CLUSTER)
        or environment.get(COORDINATOR)
        or not all(map(environment.get, OTHERS.values()))
    ):
        return environment
    return {**environment, **{name: environment[other] for name, other in OTHERS.items()}}


def cluster_settings(
    cluster: str | None, address: str | None, environment: Mapping[str, str]
) -> dict[str, Any]:
    """The arguments with which JAX joins the processes of a run."""
    if cluster:
        return {"cluster_detection_method": cluster, "initialization_timeout": 600}
    try:
        count, index = int(environment[COUNT]), int(environment[INDEX])
    except (KeyError, ValueError) as error:
        raise RunError(
            _("{coordinator} is set, but {count} and {index} are not numbers ({error})."),
            coordinator=COORDINATOR, count=COUNT, index=INDEX, error=error,
        ) from None  # fmt: skip
    asked = {"coordinator_address": address, "num_processes": count, "process_id": index}
    asked |= {"cluster_detection_method": "deactivate", "initialization_timeout": 120}
    if str(address).startswith("127.0.0.1:"):  # else the service listens on every interface, open to anybody
        asked |= {"coordinator_bind_address": address, "local_device_ids": [index]}
    return asked
