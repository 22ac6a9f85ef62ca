"""`labkit check-labels`: rows whose label is doubtful, or rows to label next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.options import say, write_output
from labkit.core.text import one_line

#: Columns that are printed, and characters of a text.
SHOWN, LONGEST = 4, 80


def check_labels(
    source: Annotated[str, typer.Argument(metavar="DATA", help="File, folder, sample or saved rows.")],
    label: Annotated[str | None, typer.Option(help="Label column (default: detected).")] = None,
    text: Annotated[str | None, typer.Option(help="Text column (default: detected).")] = None,
    table: Annotated[bool, typer.Option("--table", help="A table: all usable columns are features.")] = False,
    new: Annotated[bool, typer.Option("--new", help="List rows without a label, most useful first.")] = False,
    encoder: Annotated[
        str,
        typer.Option(
            help="Sentence encoder that helps, such as minilm-l6 or e5-small; auto: one that is in the cache; none."
        ),
    ] = "auto",
    count: Annotated[int, typer.Option(min=1, help="Rows that are printed.")] = 20,
    out: Annotated[Path | None, typer.Option(help="CSV file with all rows, most doubtful first.")] = None,
) -> None:
    """Rank rows by how likely their label is wrong (confident learning on out-of-fold predictions), or with --new
    the rows whose label would help most."""
    from labkit.data.io.load import load
    from labkit.evaluate.label_issues import find_label_issues, rows_to_label
    from labkit.inference.answer_files import csv_of

    options = {name: value for name, value in (("label", label), ("text", text)) if value is not None}
    given = None if encoder in ("none", "") else encoder
    rows = load(source, missing="keep", features=table, **options)
    if new:
        found = rows_to_label(rows, count, encoder=given)
    else:
        found = find_label_issues(rows, encoder=given)
        say(
            f"{found['is_label_issue'].sum():,} of {len(found):,} labels are doubtful, by {found.attrs['learner']}."
        )
    if out is not None:
        write_output(out, csv_of(found))
    for line in found.head(count).itertuples(index=False):
        said = "\t".join(
            "" if value is None else one_line(str(value), LONGEST) for value in line[1 : SHOWN + 1]
        )
        texts = "\t".join(
            one_line(str(getattr(line, name)), LONGEST) for name in ("text",) if hasattr(line, name)
        )
        say(f"{said}\t{texts}".rstrip())
