"""Errors in the words of a panel: a control to use where the message names an argument of a function."""

from __future__ import annotations

from labkit.core.errors import LabkitError
from labkit.i18n import Message, _

#: msgid of a lower room → what a panel shows instead; the parameters are the same.
WORDS: dict[str, Message] = {
    "several columns could be the {what}: {listed}. Pass {argument}={name!r}{pair}{none}.": _(
        "several columns could be the {what}: {listed}. Choose one."
    ),
    "no text column found; the columns are {names}. Pass text=….": _(
        "no text column found; the columns are {names}. Choose one, or use table columns as input."
    ),
    "column {column!r} contains {kind}, not text. Pass text=… with a text column.": _(
        "column {column!r} contains {kind}, not text. Choose a text column."
    ),
    "column {column!r} has {found:,} distinct values in {total:,} rows: classification needs few classes, each "
    "with many rows. Choose another column with label=…, or list the classes with classes=(…). For regression, "
    "pass number={column!r} instead.": _(
        "column {column!r} has {found:,} different values in {total:,} rows, which are too many for classes. Choose "
        "another label, or the goal “Predict a number”."
    ),
    "column {column!r} contains numbers such as {example!r}, in which the comma may be a decimal or thousands "
    "separator: pass decimal=',' or decimal='.'.": _(
        "column {column!r} contains numbers such as {example!r}: choose the decimal separator under “More options”."
    ),
    'labels are missing in column {label!r}: {found}. Pass missing="drop" to drop these rows, or missing="keep" '
    "to keep them as unlabelled.": _(
        "labels are missing in column {label!r}: {found}. Choose what to do with them under “More options”."
    ),
    "{bad}. The limit is {limit:g} %. Remove the duplicates from train with `rows.dedupe()`, or pass "
    "accept_leakage=True, which makes scores too optimistic.": _(
        "{bad}. The limit is {limit:g} %. Remove duplicates in the step Prepare, or accept the overlap there, which "
        "makes scores too optimistic."
    ),
    "{name!r} on the hub can change: pin a revision with lk.load({name!r}, revision=\"…\"), the commit shown under "
    "Files. ({name!r} is neither a local file or folder nor a sample.)": _(
        "{name!r} is neither a file or folder on this machine nor a sample."
    ),
    "the table has no column {column!r}, which the model needs.{hint} It has: {there}. "
    "Name the column (--column, --pair), or all columns of a file without a header "
    "(--name).": _(
        "the file has no column {column!r}, which the model needs.{hint} It has: {there}. Choose or rename its column."
    ),
    "name the column that contains the file names (--column). The table has: {there}.": _(
        "no column contains file names: call it “file”. The table has: {there}."
    ),
}  # fmt: skip


def in_panel_words(error: LabkitError) -> str:
    """The message of an error for a panel, without the class of the error."""
    message = error.message
    if not isinstance(message, Message):
        return str(error)
    found = WORDS.get(message.msgid)
    return found.fill(**message.params) if found is not None else message
