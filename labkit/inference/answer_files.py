"""Files with predictions: the rows of a table with answer columns, as CSV, JSON Lines, Parquet or Excel."""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from labkit.core.errors import ConfigError, DataError, os_reason
from labkit.data.io.write import write_excel, write_parquet
from labkit.data.model_input import is_missing
from labkit.i18n import _
from labkit.inference.predictor import NoPrediction

if TYPE_CHECKING:
    import pandas as pd

    from labkit.inference.registry import RowPipeline

#: First characters that make a spreadsheet compute a cell; the last four are the full-width forms.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
#: Rows of a table, column name → value, each with its prediction.
Answers = Iterable[tuple[dict[str, Any], Any]]


@dataclass
class Answered:
    """What was written.

    Attributes:
        rows: number of rows.
        unsure: rows below the threshold.
        problems: row number → why the model cannot read it.
        notes: such as that texts were truncated.
    """

    rows: int = 0
    unsure: int = 0
    problems: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def write_answers(
    predictor: RowPipeline,
    source: str | Path,
    out: Path,
    *,
    encoding: str = "utf-8",
    unsure_below: float | None = None,
    relative_to: Path | None = None,
    **settings: Any,
) -> Answered:
    """Predict for every row of a file or folder, and write the rows with the answers.

    Args:
        predictor: the model.
        source: see :meth:`labkit.Predictor.answered`.
        out: the file to write, of an ending in :data:`WRITERS`; replaced once all is written.
        encoding: of a CSV file; "utf-8-sig" for Excel.
        relative_to: folder from which the column "file" of images or sounds names them.
        unsure_below, settings: of :meth:`labkit.Predictor.answered`.

    Raises:
        ConfigError: the ending is not supported, or ``out`` is ``source``.
        DataError: the file cannot be read or written, or a row is not what the model reads.
    """
    check_ending(out)
    if out.exists() and Path(source).exists() and out.samefile(source):
        raise ConfigError(_("{out} is also the input file; choose another name for --out."), out=out)
    found, notes = Answered(), list[str]()
    rows = predictor.answered(source, unsure_below=unsure_below, note=notes.append, **settings)
    skips = settings.get("on_bad") == "skip"  # then the first row may have no answer that names the columns
    columns = (*predictor.answer_columns(unsure_below), "problem") if skips else ()
    several = predictor.problem_type == "labels"
    with _replacing(out) as part:
        WRITERS[out.suffix.lower()](part, _counted(rows, found, relative_to), columns, several, encoding)
    found.notes = tuple(notes)
    return found


def check_ending(out: Path) -> None:
    """Raise :class:`ConfigError` where ``out`` has no ending that is written."""
    if out.suffix.lower() not in WRITERS:
        raise ConfigError(
            _("--out {out}: supported output formats are {endings}."), out=out, endings=" or ".join(WRITERS)
        )


def _counted(rows: Answers, found: Answered, base: Path | None) -> Iterator[tuple[dict[str, Any], Any]]:
    for record, answer in rows:
        if base is not None:
            record = {**record, "file": Path(record["file"]).relative_to(base).as_posix()}
        if isinstance(answer, NoPrediction):
            found.problems[found.rows] = answer.problem
        found.unsure += bool(getattr(answer, "unsure", False))
        found.rows += 1
        yield record, answer


# --- CSV and JSON Lines -------------------------------------------------------------------------------------------


def write_csv(target: IO[str], answers: Answers, columns: Sequence[str] = ()) -> int:
    """Write CSV and return the number of rows. No cell can act as a formula when a spreadsheet opens the
    file. A column of the table with the name of an answer is replaced."""
    writer, count = csv.writer(target, lineterminator="\r\n"), 0  # so that a lone \r is quoted too
    for count, (record, answer) in enumerate(answers, 1):
        row = {**record, **dict.fromkeys(columns, ""), **answer.cells()}
        if count == 1:
            writer.writerow(map(_inert, row))
        writer.writerow(_inert(_cell(value)) for value in row.values())
    return count


def csv_of(frame: pd.DataFrame) -> bytes:
    """A frame as CSV, as :func:`csv_of_rows` writes it."""
    return csv_of_rows(frame.columns, frame.itertuples(index=False))


def csv_of_rows(columns: Iterable[object], rows: Iterable[Iterable[object]]) -> bytes:
    """Rows as CSV that Excel opens: with a byte order mark, without formulas; missing values are empty."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\r\n")
    writer.writerow([_inert(str(name)) for name in columns])
    for row in rows:
        writer.writerow([_inert("" if is_missing(value) else _cell(value)) for value in row])
    return target.getvalue().encode("utf-8-sig")


def _csv_file(part: Path, answers: Answers, columns: Sequence[str], several: bool, encoding: str) -> None:
    with part.open("w", encoding=encoding, newline="") as target:
        write_csv(target, answers, columns)


def _jsonl_file(part: Path, answers: Answers, columns: Sequence[str], several: bool, encoding: str) -> None:
    with part.open("w", encoding="utf-8", newline="") as target:
        for record, answer in answers:
            json.dump({**record, **answer.record(several)}, target, ensure_ascii=False, default=str)
            target.write("\n")


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


# --- Parquet and Excel --------------------------------------------------------------------------------------------


def _values(answer: Any) -> dict[str, Any]:
    """The cells of an answer, numbers as numbers."""
    return {name: _typed(name, value) for name, value in answer.cells().items()}


def _typed(name: str, value: str) -> Any:
    if name == "confidence" or name.startswith(("probability ", "predicted ")):
        return float(value)
    return value


def _parquet_file(part: Path, answers: Answers, columns: Sequence[str], several: bool, encoding: str) -> None:
    rows = [{**record, **dict.fromkeys(columns), **_values(answer)} for record, answer in answers]
    names = list(rows[0]) if rows else list(columns)
    write_parquet(part, {name: [row[name] for row in rows] for name in names})


def _excel_file(part: Path, answers: Answers, columns: Sequence[str], several: bool, encoding: str) -> None:
    rows = ({**record, **dict.fromkeys(columns), **_values(answer)} for record, answer in answers)
    write_excel(part, ({name: _excel_value(value) for name, value in row.items()} for row in rows))


def _excel_value(value: object) -> Any:
    """A value that a cell of Excel can hold: a number, a date without a time zone, or a text."""
    plain = value is None or isinstance(value, bool | int | float | datetime.date | datetime.time)
    return value if plain and getattr(value, "tzinfo", None) is None else _cell(value)


#: Ending → what writes (file, answers, answer columns, several labels, encoding).
WRITERS: dict[str, Callable[[Path, Answers, Sequence[str], bool, str], None]] = {
    ".csv": _csv_file, ".jsonl": _jsonl_file, ".ndjson": _jsonl_file, ".parquet": _parquet_file,
    ".xlsx": _excel_file,
}  # fmt: skip


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary file that replaces ``path`` at the end; after an error the old content remains.

    Raises:
        DataError: the place cannot be written.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        yield beside
        beside.replace(path)
    except OSError as error:
        raise DataError(_("cannot write {path}: {reason}."), path=path, reason=os_reason(error)) from error
    finally:
        beside.unlink(missing_ok=True)
