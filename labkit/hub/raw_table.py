"""A data sample as it comes: its splits and the roles of its columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labkit.hub.corpora import Note

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class RawTable:
    """Rows of a sample as they come.

    ``splits`` has the columns named by ``text`` (two for pairs) and ``label`` (class names), ``row`` (int64,
    the number of the row in the source, from 0 in every split) and others of the sample. ``notes`` are the
    dropped rows: (row, reason); a sample of several splits has none.
    """

    splits: dict[str, Dataset]
    text: str | tuple[str, str]
    label: str
    classes: tuple[str, ...]
    kind: str = "text"
    notes: list[Note] = field(default_factory=list)
    encoded: bool = False  # a table of categories too, which are encoded as features
    number: tuple[str, ...] = ()  # columns of numbers to predict, where there is no label
    groups: tuple[str, ...] = ()  # columns that the model does not read
    labelled: bool = True  # False: no column is a label
    tags: str = ""  # column of a tag for every word
    masked: bool = False  # pictures with a mask each, whose values ``classes`` names
    indicators: bool = False  # features that say where a value is missing
    interactions: dict[str, str] = field(default_factory=dict)  # columns of users, items and titles
    transcript: str = ""  # column of what is said in sounds
    rate: int = 0  # samples a second of sounds
    time: str = ""  # column of the times of series, whose values are ``number``
