"""XLA's own memory plan of the training step of an experiment, compiled in a process of its own.

 ``python -m labkit.train.xla_plan FOLDER`` prints it: bytes for each batch shape, as JSON. The notebook's
kernel stays free meanwhile, and what the compiler uses is freed at its end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from labkit.core import plugins
from labkit.core.config import dumps, loads
from labkit.core.errors import RunError
from labkit.i18n import _
from labkit.profile.cost import MemoryPlan, step_by_xla
from labkit.train.context import prepare, shapes_of
from labkit.train.experiment import Experiment

_EXPERIMENT = "experiment.toml"


def plans(experiment: Experiment, folder: Path) -> list[MemoryPlan]:
    """XLA's plan for each shape of the batches; ``folder`` has the rows in ``data``, as that of a run.

    Raises:
        ConfigError: a plugin of the experiment is not found by another process.
        RunError: the step cannot be compiled.
    """
    plugins.check_elsewhere(experiment.plugins)
    (folder / _EXPERIMENT).write_text(dumps(experiment), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "labkit.train.xla_plan", str(folder)], capture_output=True, text=True, check=False,
        env={**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [str(done.returncode)])[-1]
        raise RunError(_("the training step cannot be compiled: {error}"), error=last)
    return [MemoryPlan(**plan) for plan in json.loads(done.stdout.splitlines()[-1])]


def main() -> None:
    """Compile the step of the experiment in the folder named on the command line."""
    folder = Path(sys.argv[1])
    experiment = loads(Experiment, (folder / _EXPERIMENT).read_text("utf-8"))
    plan = prepare(experiment, folder, lambda message: None)
    state = plan.steps.abstract_state()
    found = [step_by_xla(plan.steps, state, batch)[1] for batch in shapes_of(plan.batches, plan.steps)]
    print(json.dumps([asdict(one) for one in found]))


if __name__ == "__main__":
    main()
