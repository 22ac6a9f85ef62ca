"""`labkit transcribe`: the words spoken in sound files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.options import Folder, Plugins, check_csv, say, write_output


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
    check_csv(out)
    from labkit import api as front
    from labkit.inference.answer_files import csv_of_rows
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
    write_output(out, csv_of_rows(("file", "transcript"), zip(files, found, strict=True)))
