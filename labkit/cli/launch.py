"""`labkit launch`: multi-process training on this machine or with a cluster scheduler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from labkit.cli.options import Folder, say
from labkit.core.errors import ConfigError
from labkit.i18n import _

launch_app = typer.Typer(
    help="Multi-process training: local, or with a cluster scheduler.", no_args_is_help=True
)
Experiments = Annotated[Path, typer.Argument(help="Experiment file (TOML), as written by `run.toml()`.")]
Out = Annotated[Path | None, typer.Option(help="Output file (default: standard output).")]


@launch_app.command("local")
def launch_local(
    experiment: Annotated[
        Path | None, typer.Argument(help="Experiment file (TOML), as written by `run.toml()`.")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=2, help="Number of processes, each with its own devices.")] = 2,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Resume this run instead.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    folder: Folder = None,
) -> None:
    """Train in several processes on this machine; if one fails, all restart from the latest checkpoint."""
    if (experiment is None) == (resume is None):
        raise ConfigError(
            _("give either an experiment file or --resume RUN: labkit launch local -n 2 experiment.toml")
        )
    from labkit import api as front

    say(front.train(experiment, resume=resume, name=name, folder=folder, processes=n))


@launch_app.command("slurm")
def launch_slurm(
    experiment: Experiments,
    nodes: Annotated[int, typer.Option(min=1, help="Number of machines.")] = 2,
    tasks: Annotated[int, typer.Option(min=1, help="Processes per machine.")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs per machine.")] = 0,
    time: Annotated[str, typer.Option(help="Time limit of one job.")] = "04:00:00",
    out: Out = None,
    folder: Folder = None,
) -> None:
    """Create a run and write a SLURM batch script (sbatch)."""
    from labkit.runs import launch_scripts

    _write_script(
        experiment,
        folder,
        out,
        lambda run: launch_scripts.slurm(run.store, run.info, nodes, tasks, time, gpus),
    )


@launch_app.command("mpi")
def launch_mpi(
    experiment: Experiments,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of processes.")] = 2,
    out: Out = None,
    folder: Folder = None,
) -> None:
    """Create a run and write an mpirun script (needs mpi4py)."""
    from labkit.runs import launch_scripts

    _write_script(experiment, folder, out, lambda run: launch_scripts.mpi(run.store, run.info, n))


@launch_app.command("kubernetes")
def launch_kubernetes(
    experiment: Experiments,
    image: Annotated[str, typer.Option(help="Container image with labkit installed.")],
    claim: Annotated[str, typer.Option(help="Persistent volume claim with the lab folder.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Number of pods.")] = 2,
    out: Out = None,
    folder: Folder = None,
) -> None:
    """Create a run and write a Kubernetes JobSet."""
    from labkit.runs import launch_scripts

    _write_script(experiment, folder, out, lambda run: launch_scripts.jobset(run.info, n, image, claim))


@launch_app.command("kubeflow")
def launch_kubeflow(
    experiment: Experiments,
    image: Annotated[str, typer.Option(help="Container image with labkit installed.")],
    claim: Annotated[str, typer.Option(help="Persistent volume claim with the lab folder.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Number of pods.")] = 2,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs per pod.")] = 0,
    out: Out = None,
    folder: Folder = None,
) -> None:
    """Create a run and write a TrainJob for Kubeflow's trainer (runtime jax-distributed)."""
    from labkit.runs import launch_scripts

    _write_script(
        experiment, folder, out, lambda run: launch_scripts.trainjob(run.info, n, image, claim, gpus)
    )


@launch_app.command("ray")
def launch_ray(
    experiment: Experiments,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of processes.")] = 2,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs per process.")] = 0,
    cpus: Annotated[int, typer.Option(min=1, help="CPUs per process.")] = 1,
    out: Out = None,
    folder: Folder = None,
) -> None:
    """Create a run and write a Python file that trains it on a Ray cluster."""
    from labkit.runs import launch_scripts

    _write_script(experiment, folder, out, lambda run: launch_scripts.ray(run.store, run.info, n, gpus, cpus))


def _write_script(
    experiment: Path, folder: Path | None, out: Path | None, write: Callable[[Any], str]
) -> None:
    from labkit import api as front

    run = front.create(experiment, folder=folder)
    text = write(run)
    if out is None:
        say(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
    say(f"run {run.id} waits in {run.store.folder}", err=True)
