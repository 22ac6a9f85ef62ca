"""The data samples as tables of raw rows, which :func:`labkit.data.source.load` takes like any other source."""

from __future__ import annotations

import email
import gzip
import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.header import decode_header, make_header
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.base.errors import DataError, nearest
from labkit.base.samples import SAMPLES, Progress, folder

if TYPE_CHECKING:
    from datasets import Dataset

Note = tuple[int, str]


@dataclass(frozen=True)
class RawTable:
    """Rows of a sample as they come.

    ``splits`` has the columns named by ``text`` and ``label`` (class names), ``row`` (int64, the number of the row in
    the source, from 0) and others of the sample. ``notes`` are the rows left out: (row, reason).
    """

    splits: dict[str, Dataset]
    text: str
    label: str
    classes: tuple[str, ...]
    kind: str = "text"
    notes: list[Note] = field(default_factory=list)


def table(name: str, *, progress: Progress = None, **options: Any) -> RawTable:
    """Read a data sample, fetching it on first use.

    Args:
        name: ``movie-reviews`` (column ``score``; option ``min_score``: keep rows with \\|score\\| above it),
            ``reviews-zh``, ``spam`` (columns ``subject`` and ``group``) or ``digits`` (column ``image``: uint8 [8, 8],
            0 to 16).
        progress: as for :func:`labkit.base.samples.folder`.

    Raises:
        SampleError: the name is unknown or the sample cannot be fetched.
        DataError: the sample is a model, or has no such option.
    """
    if (sample := SAMPLES[name]).kind != "data":
        raise DataError(f"{name!r} is a model, not data. Data samples: {', '.join(_READERS)}.")
    if (reader := _READERS.get(name)) is None:
        raise DataError(f"the sample {name!r} has no table. Data samples: {', '.join(_READERS)}.")
    known = list(inspect.signature(reader).parameters)[1:]
    for option in options:
        if option not in known:
            has = f"It has: {', '.join(known)}." if known else "It has none."
            raise DataError(f"the sample {sample.name!r} has no option {option!r}.{nearest(option, known)} {has}")
    return reader(folder(name, progress), **options)


def _movie_reviews(place: Path, min_score: float = 0.0) -> RawTable:
    """Lines of id TAB mean rating TAB sentence; the sign of the rating is the class."""
    if not 0 <= min_score < 4:
        raise DataError(f"min_score = {min_score!r} must be at least 0 and below 4, the highest rating.")
    rows, notes = [], list[Note]()
    for row, line in enumerate((place / "movie_reviews.txt").read_bytes().decode().split("\r\n")):
        _, rating, text = line.split("\t", 2)
        score = float(rating)
        if abs(score) > min_score:
            rows.append({"row": row, "text": text, "label": "positive" if score > 0 else "negative", "score": score})
        else:
            notes.append((row, "score is 0" if min_score == 0 else f"|score| is not above {min_score:g}"))
    return RawTable({"train": _dataset(rows, score="float64")}, "text", "label", ("negative", "positive"), notes=notes)


def _reviews_zh(place: Path) -> RawTable:
    """A review a line: the positive file, then the negative one; row numbers run through both."""
    rows, notes, row = [], list[Note](), 0
    for file, label in (("pos.txt", "positive"), ("neg.txt", "negative")):
        for line in (place / file).read_bytes().decode().removesuffix("\n").split("\n"):
            if line.strip():
                rows.append({"row": row, "text": line, "label": label})
            else:
                notes.append((row, "empty line"))
            row += 1
    return RawTable({"train": _dataset(rows)}, "text", "label", ("negative", "positive"), notes=notes)


def _spam(place: Path) -> RawTable:
    """A mail a line as JSON; headers are left out, because the servers in them give the class away.

    In one mail of twelve, characters beyond ASCII were already lost in the source and read U+FFFD.
    """
    rows, notes = [], list[Note]()
    with open(place / "mails.jsonl", encoding="utf-8") as file:
        for row, line in enumerate(file):
            mail = json.loads(line)
            message = email.message_from_string(mail["text"])
            group, subject = mail["group"], _subject(message)
            label = "spam" if group.startswith("spam") else "ham"
            if text := _body(message):
                rows.append({"row": row, "text": text, "label": label, "subject": subject, "group": group})
            else:
                notes.append((row, "no text in the mail"))
    data = _dataset(rows, subject="string", group="string")
    return RawTable({"train": data}, "text", "label", ("ham", "spam"), notes=notes)


def _digits(place: Path) -> RawTable:
    """Lines of 64 grey levels and the digit."""
    with gzip.open(place / "digits.csv.gz", "rt", encoding="ascii") as file:
        values = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    columns = {
        "row": np.arange(len(values)),
        "image": list(values[:, :64].reshape(-1, 8, 8)),
        "label": values[:, 64].astype(str),
    }
    from datasets import Array2D, Dataset, Features, Value

    features = {"row": Value("int64"), "image": Array2D((8, 8), "uint8"), "label": Value("string")}
    data = Dataset.from_dict(columns, features=Features(features))
    return RawTable({"train": data}, "image", "label", tuple("0123456789"), kind="image")


_READERS: dict[str, Callable[..., RawTable]] = {
    "movie-reviews": _movie_reviews,
    "reviews-zh": _reviews_zh,
    "spam": _spam,
    "digits": _digits,
}


def _dataset(rows: list[dict[str, Any]], **types: str) -> Dataset:
    from datasets import Dataset, Features, Value

    columns = {"row": "int64", "text": "string", "label": "string", **types}
    return Dataset.from_list(rows, features=Features({name: Value(type_) for name, type_ in columns.items()}))


def _body(message: Message) -> str:
    """The text of a mail: its plain parts, else all its text parts, else a multipart body that could not be parsed.

    Transfer encodings are undone; HTML stays, for the cleaning steps.
    """
    parts = [part for part in message.walk() if part.get_content_maintype() == "text"]
    plain = [part for part in parts if part.get_content_subtype() == "plain"]
    whole = [message] if isinstance(message.get_payload(), str) else []
    for choice in (plain, parts, whole):
        if (text := "\n".join(_decoded(choice))).strip():
            return text
    return ""


def _decoded(parts: list[Message]) -> Iterator[str]:
    for part in parts:
        payload = str(part.get_payload())
        if str(part.get("content-transfer-encoding", "")).strip().lower() in ("quoted-printable", "base64"):
            # what is not ASCII here was lost before it reached us; it would spoil the decoding of the rest
            part.set_payload(payload.encode("ascii", "replace").decode("ascii"))
            payload = _text(part.get_payload(decode=True), part.get_content_charset())
        yield payload


def _text(content: Any, charset: str | None) -> str:
    try:
        return content.decode(charset or "latin-1", "replace")
    except LookupError:  # a charset that nobody knows, like "default_charset"
        return content.decode("latin-1")


def _subject(message: Message) -> str:
    raw = " ".join(line.strip() for line in str(message.get("subject", "")).splitlines())
    try:
        return str(make_header(decode_header(raw)))
    except (LookupError, ValueError):  # an unknown or wrong charset
        return raw
