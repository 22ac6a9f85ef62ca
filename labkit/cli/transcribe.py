"""`labkit transcribe`: the words spoken in sound files."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.options import Folder, Plugins, say
from labkit.core.cache import write_atomic
from labkit.core.errors import ConfigError, DataError, os_reason
from labkit.core.text import one_line
from labkit.i18n import _


def transcribe(
    model: Annotated[
        str,
        typer.Argument(metavar="RUN_OR_FOLDER", help="Run id or name, or a folder with an exported model."),
    ],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Sound files (.wav).")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Output file, .csv with the columns file and transcript (default: standard output)."
        ),
    ] = None,
    beams: Annotated[int, typer.Option(help="Number of beams; 1: greedy decoding.")] = 1,
    language: Annotated[
        float, typer.Option(help="Weight of the language model of characters in beam search; 0: none.")
    ] = 0.5,
    folder: Folder = None,
    plugin: Plugins = None,
) -> None:
    """Transcribe sounds with a model of the task asr. Each output line is the transcript of a file."""
    if out is not None and out.suffix.lower() != ".csv":
        raise ConfigError(_("--out {out}: transcripts are written as .csv."), out=out)
    from labkit import api as front
    from labkit.inference.registry import pipeline_of
    from labkit.inference.speech_recognition import SpeechRecognitionPipeline

    if Path(model).is_dir():
        tool = SpeechRecognitionPipeline(model, plugins=plugin or ())
    else:
        tool = pipeline_of(front.open_run(model, folder), SpeechRecognitionPipeline)
    found = [each.text for each in tool.transcribe(list(files), beams=beams, language=language)]
    if out is None:
        for text in found:
            say(text)
        return
    table = io.StringIO(newline="")
    csv.writer(table).writerows([("file", "transcript"), *zip(map(str, files), found, strict=True)])
    try:
        write_atomic(out, table.getvalue())
    except OSError as error:
        raise DataError(
            _("{file} cannot be written: {reason}"), file=one_line(str(out)), reason=os_reason(error)
        ) from error
