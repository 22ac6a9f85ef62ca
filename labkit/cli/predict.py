"""`labkit predict`: predictions for arguments, files and tables, as text, CSV or JSON lines."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labkit.cli.options import Folder, Plugins, say
from labkit.core.errors import ConfigError
from labkit.core.text import one_line
from labkit.i18n import _

if TYPE_CHECKING:
    from labkit.inference.registry import RowPipeline

#: Rows of a table that are predicted, and held in memory, at a time.
CHUNK = 1024


def predict(
    model: Annotated[
        str,
        typer.Argument(metavar="RUN_OR_FOLDER", help="Run id or name, or a folder with an exported model."),
    ],
    given: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT|FILE]...", help="Texts, or files or folders of images or sounds."),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(help="Table (CSV, JSON Lines, Parquet, TXT …), or a folder of images or sounds."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Output file, .csv, .jsonl, .parquet or .xlsx (default: standard output)."),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help="Column of the texts or file names (default: that of the training data)."),
    ] = None,
    pair: Annotated[
        str | None,
        typer.Option(
            help="Column of the second text, for models of text pairs; without --file, the second text itself."
        ),
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="Delimiter of the table (default: detected).")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of the table (default: detected).")] = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--name", help="Column name, for a table without a header; repeat for each column."),
    ] = None,
    unsure_below: Annotated[
        float | None,
        typer.Option(help="Mark predictions with a confidence below this as unsure (0 to 1)."),
    ] = None,
    folder: Folder = None,
    plugin: Plugins = None,
) -> None:
    """Predict for texts, images or sounds, or for each row of a table. The output adds the columns predicted,
    confidence and the probability of each class, the predicted numbers, or the words and their tags."""
    if bool(given) == (file is not None):
        raise ConfigError(
            _("give texts or --file: labkit predict RUN 'some text', labkit predict RUN --file x.csv")
        )
    from labkit import api as front

    predictor = front.row_predictor(model, folder=folder, plugins=plugin or ())
    if file is None:
        examples, pairs = _examples(predictor, given or [], pair)
        found = predictor.predictions(examples, pairs, unsure_below=unsure_below)
        for example, answer in zip(examples, found, strict=True):
            say(f"{answer}\t{one_line(str(example))}")
        for note in found.notes:
            say(note, err=True)
        return
    from labkit.inference.answer_files import check_ending, write_answers, write_csv

    if out is not None:
        check_ending(out)
    read = {"delimiter": delimiter, "encoding": encoding, "names": names and tuple(names)}
    settings = {name: value for name, value in read.items() if value}
    settings |= {"column": column, "pair": pair, "size": CHUNK, "unsure_below": unsure_below}
    note = functools.partial(say, err=True)
    if out is None:
        say(f"{write_csv(_Terminal(), predictor.answered(file, note=note, **settings))} rows", err=True)
        return
    written = write_answers(predictor, file, out, **settings)
    for text in written.notes:
        note(text)
    say(f"{written.rows} rows in {out}", err=True)


def _examples(
    predictor: RowPipeline, given: list[str], pair: str | None
) -> tuple[list[Any], list[str] | None]:
    """What the arguments of ``predict`` name: texts, or the files of pictures and sounds."""
    from labkit.data.model_input import ENDINGS, files_in, is_place

    kind = predictor.processor.modality
    if kind in ENDINGS:
        return [path for place in given for path in files_in(Path(place).expanduser(), kind)], None
    if kind != "text":
        raise ConfigError(_("this model reads tables of features: labkit predict RUN --file x.csv"))
    if pair is None and len(given) == 1 and Path(given[0]).suffix and is_place(given[0]):
        raise ConfigError(_("{given} is a file: labkit predict RUN --file {given}"), given=given[0])
    if pair is not None and len(given) > 1:
        raise ConfigError(_("--pair is the second text of one text; give several pairs with --file."))
    return list(given), None if pair is None else [pair]


class _Terminal(io.StringIO):
    """The standard output as a file of lines for the terminal."""

    def write(self, text: str, /) -> int:
        say(text.removesuffix("\r\n"))
        return len(text)
