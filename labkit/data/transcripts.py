"""Transcripts of sounds: the column that has them, and their usual form."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
from datasets import Value

from labkit.core.errors import ConfigError, DataError
from labkit.data.arrow import batches, column, numbers
from labkit.data.columns import Choice, check_columns, names_of
from labkit.data.io.arrow_cache import Part
from labkit.data.report import Report, visible
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets import Dataset

#: Column of rows of sounds with what was said.
TRANSCRIPT = "transcript"
#: Usual names of that column.
NAMES = ("transcript", "transcription", "sentence", "转写", "文本")
#: Marks that stay within a word: apostrophes and the hyphen-like marks of other scripts are letters' own.
_KEPT = "'"
_LOOKED_AT = 20


def normalised(text: str) -> str:
    """A transcript as recognition is trained and scored on: lower case, no punctuation but apostrophes within words,
    single spaces.

    ``"Login incorrect.  Please enter"`` becomes ``"login incorrect please enter"``.
    """
    text = unicodedata.normalize("NFKC", text).replace("’", "'").lower()
    text = "".join(one if one in _KEPT or unicodedata.category(one)[0] in "LMN" else " " for one in text)
    text = re.sub(r"(?<!\w)'+|'+(?!\w)", " ", text)
    return " ".join(text.split())


def has_transcripts(dataset: Dataset) -> bool:
    """Whether the rows are sounds with a transcript, by their columns."""
    return {"sound", TRANSCRIPT} <= set(dataset.column_names)


def transcripts_of(dataset: Dataset) -> list[str]:
    """The transcript of every row.

    Raises:
        DataError: there are none, or a row has none.
    """
    if not has_transcripts(dataset):
        raise DataError(
            _('the sounds have no transcripts: name their column, lk.load(folder, transcript="text"). The rows have '
              "{names}."),
            names=visible(", ".join(dataset.column_names), 400),
        )  # fmt: skip
    found = column(dataset, TRANSCRIPT).to_pylist()
    for place, text in enumerate(found):
        if not isinstance(text, str):
            row = int(numbers(dataset.select([place]), "row")[0])
            raise DataError(_("row {row} has no transcript."), row=row)
    return found


def transcript_column(table: Dataset, choice: Choice, report: Report) -> str | None:
    """The column of transcripts: the given one, else one with a usual name if no other target is given."""
    if choice.transcript is not None:
        if choice.kind != "audio":
            raise ConfigError(
                _("transcript = {transcript!r} is of sounds: load the folder that has the table and the sound files it "
                  "names."),
                transcript=choice.transcript,
            )  # fmt: skip
        check_columns(table, [choice.transcript], "train")
        return choice.transcript
    asked = choice.label, choice.number, choice.features
    if choice.kind != "audio" or any(each not in (None, (), False) for each in asked):
        return None
    names = {name.casefold(): name for name in names_of(table)}
    found = next((names[name] for name in NAMES if name in names), None)
    if found is not None:
        report.add(
            "counted", _("transcripts detected"), column=found, detail=_('set them with transcript="…"')
        )
    return found


def with_transcripts(
    parts: Mapping[str, Part], name: str, rows: Mapping[str, np.ndarray], report: Report
) -> tuple[dict[str, Part], dict[str, np.ndarray]]:
    """The tables with the column ``transcript`` in place of ``name``, and the rows without one, bool[n]; these are
    reported."""
    made, bad = {}, {}
    for split, part in parts.items():
        check_columns(part.table, [name], split)
        texts = ["" if text is None else str(text).strip() for text in column(part.table, name).to_pylist()]
        bad[split] = np.array([not normalised(text) for text in texts], bool)
        report.add("refused", _("no transcript"), rows[split][bad[split]], column=name, split=split)
        dropped = [each for each in dict.fromkeys((name, TRANSCRIPT)) if each in part.table.column_names]
        table = part.table.remove_columns(dropped).add_column(TRANSCRIPT, texts, feature=Value("string"))
        made[split] = replace(part, table=table)
    return made, bad


def waves_of(dataset: Dataset) -> Iterator[np.ndarray]:
    """The sounds of a split, f32[samples] from -1 to 1 each, some in memory at a time."""
    for part in batches(dataset, ["sound"]):
        for sounds in part.column(0).chunks:
            values = np.asarray(sounds.flatten())
            # pyrefly: ignore[missing-attribute] (pyarrow makes it when it is imported)
            ends = np.cumsum(np.asarray(pc.list_value_length(sounds)))
            for wave in np.split(values, ends[:-1]):
                yield wave / np.float32(32767)
