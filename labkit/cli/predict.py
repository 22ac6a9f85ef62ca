"""`labkit predict`: predictions for arguments, files and tables, as text, CSV or JSON lines."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from labkit.cli.options import Folder, Plugins, say
from labkit.core.errors import ConfigError, DataError, os_reason
from labkit.core.text import one_line
from labkit.i18n import _

if TYPE_CHECKING:
    from labkit.inference.predictor import Predictor

#: First characters that make a spreadsheet compute a cell; the last four are the full-width forms.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
#: Rows of a table that are predicted, and held in memory, at a time.
CHUNK = 1024
#: Rows of a table, column name → value, each with its prediction.
Answers = Iterator[tuple[dict[str, Any], Any]]


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
        Path | None, typer.Option(help="Output file, .csv or .jsonl (default: standard output).")
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
    folder: Folder = None,
    plugin: Plugins = None,
) -> None:
    """Predict for texts, images or sounds, or for each row of a table. The output adds the columns predicted,
    confidence and the probability of each class, or the predicted numbers."""
    if bool(given) == (file is not None):
        raise ConfigError(
            _("give texts or --file: labkit predict RUN 'some text', labkit predict RUN --file x.csv")
        )
    from labkit import api as front

    predictor = front.predictor(model, folder=folder, plugins=plugin or ())
    if file is None:
        examples, pairs = _examples(predictor, given or [], pair)
        found = predictor.predictions(examples, pairs)
        for example, answer in zip(examples, found, strict=True):
            say(f"{answer}\t{one_line(str(example))}")
        for note in found.notes:
            say(note, err=True)
        return
    if out is not None and out.suffix.lower() not in _WRITERS:
        raise ConfigError(
            _("--out {out}: supported output formats are {endings}."), out=out, endings=" or ".join(_WRITERS)
        )
    read = {"delimiter": delimiter, "encoding": encoding, "names": names and tuple(names)}
    read = {name: value for name, value in read.items() if value}
    note = functools.partial(say, err=True)
    answers = predictor.answered(file, column=column, pair=pair, size=CHUNK, note=note, **read)
    if out is None:
        say(f"{_write_csv(_Terminal(), answers, False)} rows", err=True)
        return
    if out.exists() and Path(file).exists() and out.samefile(file):
        raise ConfigError(_("{out} is also the input file; choose another name for --out."), out=out)
    with _replacing(out) as target:
        count = _WRITERS[out.suffix.lower()](target, answers, predictor.problem_type == "labels")
    say(f"{count} rows in {out}", err=True)


def _examples(predictor: Predictor, given: list[str], pair: str | None) -> tuple[list[Any], list[str] | None]:
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


def _write_csv(target: IO[str], answers: Answers, several: bool) -> int:
    """Write CSV and return the number of rows. No cell can act as a formula when a spreadsheet opens the
    file. A column of the table with the name of an answer is replaced."""
    writer, count = csv.writer(target, lineterminator="\r\n"), 0  # so that a lone \r is quoted too
    for count, (record, answer) in enumerate(answers, 1):
        row = {**record, **answer.cells()}
        if count == 1:
            writer.writerow(map(_inert, row))
        writer.writerow(_inert(_cell(value)) for value in row.values())
    return count


def _write_jsonl(target: IO[str], answers: Answers, several: bool) -> int:
    """Write JSON lines and return their number."""
    count = 0
    for record, answer in answers:
        json.dump({**record, **answer.record(several)}, target, ensure_ascii=False, default=str)
        target.write("\n")
        count += 1
    return count


_WRITERS: dict[str, Callable[[IO[str], Answers, bool], int]] = {
    ".csv": _write_csv, ".jsonl": _write_jsonl, ".ndjson": _write_jsonl,
}  # fmt: skip


def _cell(value: object) -> str:
    """A value of a table as text; lists and structures as JSON."""
    if value is None:
        return ""
    return (
        json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)
    )


def _inert(cell: str) -> str:
    """``=1+1`` → ``'=1+1``; plain numbers such as ``-5`` stay as they are."""
    if not cell.startswith(("\t", "\r")) and not cell.lstrip().startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return "'" + cell
    return cell


class _Terminal(io.StringIO):
    """The standard output as a file of lines for the terminal."""

    def write(self, text: str, /) -> int:
        say(text.removesuffix("\r\n"))
        return len(text)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[str]]:
    """Write a temporary file that replaces ``path`` at the end; after an error the old content remains.

    Raises:
        DataError: the place cannot be written.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("w", encoding="utf-8", newline="") as target:
            yield target
        beside.replace(path)
    except OSError as error:
        raise DataError(_("cannot write {path}: {reason}."), path=path, reason=os_reason(error)) from error
    finally:
        beside.unlink(missing_ok=True)
