"""The command ``labkit``. Subcommands import lazily, so that ``labkit --help`` is fast.

Exit codes: 0 done, 1 something is broken (doctor), 2 a wrong argument or an error that labkit explains, 130
   Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from labkit.cli import app as web_app
from labkit.cli import (
    assignment,
    bench,
    card,
    challenge,
    chat,
    check_labels,
    cost,
    diagnostics,
    distill,
    docs,
    doctor,
    export,
    fairness,
    forecast,
    generate_images,
    lab,
    launch,
    new,
    predict,
    prune,
    quantize,
    recommend,
    runs,
    samples,
    search,
    segment,
    serve,
    study,
    train,
    transcribe,
    translate,
)
from labkit.cli.options import say
from labkit.core.errors import LabkitError
from labkit.core.huge_pages import with_huge_pages
from labkit.core.text import printed

#: What the parser of arguments raises.
_UsageError: Any = typer.BadParameter.__base__


class _Explaining(TyperGroup):
    """Prints a :class:`LabkitError` as one message instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LabkitError as error:
            say(f"labkit: {error}", err=True)
            raise typer.Exit(2) from None
        except _UsageError as error:  # its message repeats arguments, which may be names of files
            error.message = printed(error.message)
            raise
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Explaining, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Deep learning with JAX: load data, train, evaluate, predict.",
)  # fmt: skip


#: Commands that train.
COMPUTING = ("train", "study", "bench", "launch", "challenge", "distill")


def main() -> None:
    """Entry point of the command. What computes begins once more, with memory in huge pages."""
    computes = sys.argv[1:2] and sys.argv[1] in COMPUTING and "--help" not in sys.argv
    if computes and with_huge_pages() != dict(os.environ):
        os.execve(sys.executable, [sys.executable, "-m", "labkit", *sys.argv[1:]], with_huge_pages())
    try:
        app()
    except Exception:  # a fault of labkit
        say(traceback.format_exc(), err=True, nl=False)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        import labkit

        say(labkit.__version__)
        raise typer.Exit


app.command(context_settings={"ignore_unknown_options": True})(lab.lab)
app.command(context_settings={"ignore_unknown_options": True})(web_app.app)
app.command()(docs.docs)
app.command()(doctor.doctor)
app.command()(bench.bench)
app.command()(new.new)
app.command()(assignment.assignment)
app.command()(train.train)
app.command()(study.study)
app.command()(check_labels.check_labels)
app.command()(predict.predict)
app.command()(translate.translate)
app.command()(chat.chat)
app.command()(chat.prompt)
app.command()(transcribe.transcribe)
app.command()(forecast.forecast)
app.command()(recommend.recommend)
app.command()(segment.segment)
app.command()(generate_images.generate_images)
app.command()(fairness.fairness)
app.command()(cost.cost)
app.command()(challenge.challenge)
app.command()(distill.distill)
app.command()(quantize.quantize)
app.command()(prune.prune)
app.command()(diagnostics.diagnostics)
app.command()(search.index)
app.command()(search.search)
app.command()(search.ask)
app.command()(card.card)
app.command()(export.export)
app.command()(serve.serve)
app.add_typer(runs.runs_app, name="runs")
app.add_typer(samples.samples_app, name="samples")
app.add_typer(launch.launch_app, name="launch")
