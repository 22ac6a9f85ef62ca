"""`labkit new`: an experiment file for a table, a folder or a sample, with the help of every setting as
comments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from labkit.cli.options import ScenarioOptions, say, write_output
from labkit.cli.train import scenario_from
from labkit.core.errors import ConfigError
from labkit.i18n import _

#: Modality of the rows → the architecture that is chosen, and its preset.
USUAL = {"text": ("bert", "minilm-l6"), "image": ("cnn", ""), "audio": ("cnn", ""), "features": ("mlp", ""),
         "series": ("dlinear", ""), "interactions": ("sasrec", "")}  # fmt: skip


def new(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A file, a folder, a sample or a hub name.")],
    out: Annotated[Path, typer.Option(help="The experiment file to write.")] = Path("experiment.toml"),
    model: Annotated[str | None, typer.Option(help="Architecture, such as bert or textcnn.")] = None,
    preset: Annotated[str | None, typer.Option(help="Named configuration of the architecture.")] = None,
    task: Annotated[str | None, typer.Option(help="Task, if it does not follow from the labels.")] = None,
    text: Annotated[str | None, typer.Option(help="Column of the text (default: detected).")] = None,
    label: Annotated[str | None, typer.Option(help="Column of the label (default: detected).")] = None,
    number: Annotated[str | None, typer.Option(help="Column of a number to predict.")] = None,
    features: Annotated[bool, typer.Option(help="Use the other columns as features, not a text.")] = False,
    time: Annotated[str | None, typer.Option(help="Column of the times, for forecasts of --number.")] = None,
    series: Annotated[
        str | None, typer.Option(help="Column that names the series, where there are several.")
    ] = None,
    scenario: ScenarioOptions = None,
    force: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Write an experiment file for DATA, with comments. Change it, then run `labkit train FILE`."""
    from labkit.core.config import commented
    from labkit.data.io.load import load
    from labkit.models import models
    from labkit.planning import experiment_of

    if out.exists() and not force:
        raise ConfigError(
            _("{out!r} already exists. Give another name with --out, or --force to replace it."), out=str(out)
        )
    given: dict[str, Any] = {"text": text, "label": label, "number": number, "features": features or None,
                             "time": time, "series": series}  # fmt: skip
    rows = load(data, **{name: value for name, value in given.items() if value is not None})
    name, usual = ("unet", "small") if rows.schema.mask_classes else USUAL[rows.schema.modality]
    name, preset = (
        (name, preset if preset is not None else usual) if model in (None, name) else (model, preset or "")
    )
    config = models[name](**({"preset": preset} if preset else {}))
    options: dict[str, Any] = {"task": task, "scenario": scenario_from(scenario)}
    options = {name: value for name, value in options.items() if value is not None}
    rows, experiment = experiment_of(rows, config, False, options)
    write_output(out, commented(experiment.for_rows(rows)))
    say(f"{rows}\n\n{out}: {name} {preset}".rstrip() + f"\nlabkit train {out}")
