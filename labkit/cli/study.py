"""`labkit study`: compare several experiments on the same rows by successive halving."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labkit.cli.options import Folder, ScenarioOptions, say
from labkit.cli.train import parsed, scenario_from
from labkit.core.errors import ConfigError
from labkit.i18n import _

if TYPE_CHECKING:
    from labkit.choosing import Study


def study(
    experiments: Annotated[
        list[Path] | None, typer.Argument(help="Experiment files (TOML) with the same data.")
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            help="Draw a setting of the first file: learning_rate=1e-4..1e-2:log, or batch_size=16,32.",
        ),
    ] = None,
    samples: Annotated[int, typer.Option(help="How many candidates to draw.")] = 8,
    sampler: Annotated[str, typer.Option(help="sobol or random.")] = "sobol",
    budget: Annotated[float | None, typer.Option(help="Minutes of training until the study stops.")] = None,
    eta: Annotated[int, typer.Option(help="One of so many goes on after a rung.")] = 3,
    finish: Annotated[int, typer.Option(help="So many candidates at least are trained to their end.")] = 3,
    baselines: Annotated[bool, typer.Option(help="Compare with baselines.")] = True,
    cost: Annotated[
        str, typer.Option(help="What small means: parameters, flops, ms_p50, bytes …")
    ] = "parameters",
    prices: Annotated[
        list[str] | None,
        typer.Option("--price", metavar="NAME=VALUE", help="hour, kwh, hosted (1,000 answers) or currency."),
    ] = None,
    scenario: ScenarioOptions = None,
    name: Annotated[str, typer.Option(help="Name of the study.")] = "study",
    resume: Annotated[str | None, typer.Option(metavar="STUDY", help="Continue this study.")] = None,
    stop: Annotated[
        str | None, typer.Option(metavar="STUDY", help="Stop this study before its next step.")
    ] = None,
    show: Annotated[str | None, typer.Option(metavar="STUDY", help="Print the table of this study.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the studies of the lab folder.")] = False,
    folder: Folder = None,
) -> None:
    """Compare models on the same rows: poor ones are left out early, the others are trained to their end.
    Ctrl-C stops the study; --resume continues it."""
    from labkit import choosing

    asked = [bool(experiments), resume is not None, stop is not None, show is not None, listed]
    if sum(asked) != 1:
        raise ConfigError(_("give experiment files, or one of --resume, --stop, --show and --list."))
    if listed:
        say(repr(choosing.studies(folder)))
    elif stop is not None:
        found = choosing.open_study(stop, folder)
        found.stop()
        say(f"{found.name} ({found.id}) will stop before its next step")
    elif show is not None:
        _print(choosing.open_study(show, folder))
    elif resume is not None:
        _print(choosing.foreground(choosing.open_study(resume, folder).resume(budget=budget)))
    else:
        files = experiments or []
        rows, candidates = _candidates(files, vary or [], samples, sampler)
        made = choosing.study(
            rows, candidates, budget=budget, eta=eta, finish=finish, baselines=baselines, cost=cost,
            prices=parsed(prices or [], "--price", "hour=2"), scenario=scenario_from(scenario), name=name,
            folder=folder, background=False,
        )  # fmt: skip
        _print(made)


def _print(study: Study) -> None:
    table = study.table().dropna(axis=1, how="all")
    say(f"{study}\n\n{table.to_string(na_rep='', float_format='{:.4g}'.format)}")


def _candidates(files: list[Path], vary: list[str], samples: int, sampler: str) -> tuple[Any, dict[str, Any]]:
    """The rows that all files name, and their experiments by name; with ``vary`` those drawn from the first."""
    from labkit.core.config import read_text
    from labkit.search.space import Space
    from labkit.train.experiment import own_experiment

    texts = {path.stem: read_text(path) for path in files}
    if len(texts) < len(files):
        raise ConfigError(
            _("two experiment files have the same name: {names}."), names=", ".join(map(str, files))
        )
    found = {name: own_experiment(text) for name, text in texts.items()}
    first = next(iter(found.values()))
    for name, each in found.items():
        if each.data != first.data:
            raise ConfigError(
                _("{name!r} has other data than {first!r}: a study compares on the same rows."), name=name,
                first=next(iter(found)),
            )  # fmt: skip
    if vary:
        drawn = Space("", dict(map(_varied, vary)), samples, sampler).draw()
        label, text = next(iter(texts.items()))
        del found[label]
        found = {
            f"{label} {n:02d}": own_experiment(text, values) for n, values in enumerate(drawn, 1)
        } | found
    return first.data.load(first.task), found


def _varied(text: str) -> tuple[str, Any]:
    """``learning_rate=1e-4..1e-2:log`` as a range, ``batch_size=16,32`` as choices."""
    from labkit.search.space import Range

    name, equals, values = text.partition("=")
    if not equals or not name.strip():
        raise ConfigError(_("--vary {text!r}: give a name and values, such as learning_rate=1e-4..1e-2:log."),
                          text=text)  # fmt: skip
    if ".." not in values:
        return name.strip(), [parsed([f"value={each}"])["value"] for each in values.split(",")]
    ends, _colon, how = values.partition(":")
    low, _dots, high = ends.partition("..")
    try:
        whole = not any(mark in ends.replace("..", "") for mark in ".e")
        return name.strip(), Range(float(low), float(high), log=how == "log", whole=whole)
    except ValueError:
        raise ConfigError(_("--vary {text!r}: the ends of a range must be numbers."), text=text) from None
