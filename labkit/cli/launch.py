"""The commands ``labkit launch``: one run in several processes, on this machine or by a cluster's scheduler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from labkit.core.errors import ConfigError
from labkit.core.text import printed
from labkit.i18n import _

launch_app = typer.Typer(help="Train in several processes: here, or by a cluster's scheduler.", no_args_is_help=True)
Folder = Annotated[Path | None, typer.Option(help="The lab folder (default: .labkit here, or LABKIT_FOLDER).")]
Experiments = Annotated[Path, typer.Argument(help="TOML file of the experiment, as a run prints it.")]
Out = Annotated[Path | None, typer.Option(help="File to write (default: the terminal).")]


@launch_app.command("local")
def launch_local(
    experiment: Annotated[Path | None, typer.Argument(help="TOML file of the experiment, as a run prints it.")] = None,
    n: Annotated[int, typer.Option("-n", min=2, help="Processes, each with its own devices.")] = 2,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Take up this run instead.")] = None,
    name: Annotated[str | None, typer.Option(help="A name for the run.")] = None,
    folder: Folder = None,
) -> None:
    """Train in several processes on this machine; when one dies, all begin again from the newest checkpoint."""
    if (experiment is None) == (resume is None):
        raise ConfigError(_("give either an experiment file or --resume RUN: labkit launch local -n 2 experiment.toml"))
    from labkit import api as front

    typer.echo(printed(front.train(experiment, resume=resume, name=name, folder=folder, processes=n)))


@launch_app.command("slurm")
def launch_slurm(
    experiment: Experiments,
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 2,
    tasks: Annotated[int, typer.Option(min=1, help="Processes on each.")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of each.")] = 0,
    time: Annotated[str, typer.Option(help="The longest time of one job.")] = "04:00:00",
    out: Out = None,
    folder: Folder = None,
) -> None:
    """Enter a run and write the file for sbatch."""
    from labkit.runs import launch_scripts

    _write_script(
        experiment, folder, out, lambda run: launch_scripts.slurm(run.store, run.info, nodes, tasks, time, gpus)
    )


@launch_app.command("mpi")
def launch_mpi(
    experiment: Experiments,
    n: Annotated[int, typer.Option("-n", min=1, help="Processes.")] = 2,
    out: Out = None,
    folder: Folder = None,
) -> None:
    """Enter a run and write a script around mpirun (needs mpi4py)."""
    from labkit.runs import launch_scripts

    _write_script(experiment, folder, out, lambda run: launch_scripts.mpi(run.store, run.info, n))


@launch_app.command("kubernetes")
def launch_kubernetes(
    experiment: Experiments,
    image: Annotated[str, typer.Option(help="A container image that has labkit.")],
    claim: Annotated[str, typer.Option(help="The volume claim that holds the lab folder.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Pods.")] = 2,
    out: Out = None,
    folder: Folder = None,
) -> None:
    """Enter a run and write a JobSet for kubectl."""
    from labkit.runs import launch_scripts

    _write_script(experiment, folder, out, lambda run: launch_scripts.jobset(run.info, n, image, claim))


def _write_script(experiment: Path, folder: Path | None, out: Path | None, write: Callable[[Any], str]) -> None:
    from labkit import api as front

    run = front.create(experiment, folder=folder)
    text = write(run)
    if out is None:
        typer.echo(printed(text), nl=False)
    else:
        out.write_text(text, encoding="utf-8")
    typer.echo(printed(f"run {run.id} waits in {run.store.folder}"), err=True)
