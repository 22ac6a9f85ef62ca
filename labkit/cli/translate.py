"""`labkit translate`: translations of texts or of the lines of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.options import Folder, Plugins, say, write_output
from labkit.core.errors import ConfigError, DataError
from labkit.core.text import one_line
from labkit.i18n import _


def translate(
    model: Annotated[
        str,
        typer.Argument(metavar="RUN_OR_FOLDER", help="Run id or name, or a folder with a translation model."),
    ],
    given: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Source texts.")] = None,
    file: Annotated[Path | None, typer.Option(help="Text file, a source text a line.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Output file, a translation a line (default: standard output).")
    ] = None,
    beams: Annotated[int, typer.Option(help="Number of beams; 1: greedy decoding.")] = 4,
    length_penalty: Annotated[float, typer.Option(help="Greater than 1 favours longer texts.")] = 1.0,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Maximum number of new tokens (default: 64).")
    ] = None,
    folder: Folder = None,
    plugin: Plugins = None,
) -> None:
    """Translate texts with a model of the task seq2seq. Each output line is the translation of an input line."""
    if bool(given) == (file is not None):
        raise ConfigError(
            _("give texts or --file: labkit translate RUN 'some text', labkit translate RUN --file x.txt")
        )
    texts = list(given or []) if file is None else _lines(file)
    from labkit import api as front
    from labkit.inference.registry import pipeline_of
    from labkit.inference.translation import TranslationPipeline

    if Path(model).is_dir():
        tool = TranslationPipeline(model, plugins=plugin or ())
    else:
        tool = pipeline_of(front.open_run(model, folder), TranslationPipeline)
    settings = {} if max_new_tokens is None else {"max_new_tokens": max_new_tokens}
    found = tool.translate(texts, beams=beams, length_penalty=length_penalty, **settings)
    lines = [" ".join(text.split()) for text in found]
    if out is None:
        for line in lines:
            say(line)
        return
    write_output(out, "".join(f"{line}\n" for line in lines))
    say(f"{len(lines)} lines in {out}", err=True)


def _lines(file: Path) -> list[str]:
    """The lines of a text file; an empty one stays, so that outputs are in the same places."""
    from labkit.data.io.encoding import detect

    if not file.is_file():
        raise DataError(_("there is no file {file}."), file=one_line(str(file)))
    with detect(file).open(file) as opened:
        return opened.read().splitlines()
