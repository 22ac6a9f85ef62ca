"""The data samples as tables of raw rows, which :func:`~labkit.data.io.load.load` takes like any other
source."""

from __future__ import annotations

import csv
import datetime
import email
import gzip
import inspect
import json
from collections.abc import Callable, Iterator
from email.header import decode_header, make_header
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.core.errors import DataError, nearest
from labkit.hub import corpora, earth, help_pages, speech, tables
from labkit.hub.corpora import Note
from labkit.hub.questions import built
from labkit.hub.raw_table import RawTable
from labkit.hub.samples import SAMPLES, Progress, folder
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets import Dataset

CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def table(name: str, *, progress: Progress = None, **options: object) -> RawTable:
    """Read a data sample, fetching it on first use.

    Args:
        name: one of these, with its classes and further columns. All rows are in the split ``train`` unless
            said otherwise.

            ============= ============================== ==============================================================
            movie-reviews negative, positive             ``score``: mean rating; option ``min_score``: keep rows with
                                                         one above it or below minus it
            reviews-zh    negative, positive             Chinese
            spam          ham, spam                      ``subject``, ``group``
            digits        0 … 9                          ``image``: uint8 [8, 8], 0 to 16
            breast-cancer benign, malignant              30 numbers
            diabetes      ``progression``: a number      ten numbers
            adult         <=50K, >50K                    6 numbers, 8 categories, among them ``sex``, ``race``
            compas        no, yes                        5 numbers, categories, among them ``sex``, ``race``
            german-credit good, bad                      7 numbers, categories, among them ``sex``
            law-school    failed, passed                 ``LSAT``, ``UGPA``, ``ZFYA``, ``Race``, ``Sex``
            heart         healthy, disease               6 numbers, 7 categories, many missing; ``site``: four
                                                         hospitals, not a feature; indicators of missing values
            actg175       no, yes                        9 numbers, 12 categories at the start of a trial of HIV drugs;
                                                         ``treatment`` among them
            default       no, yes                        ``balance``, ``income``, ``student``; simulated
            fashion-mnist ten kinds of clothes           ``image``: uint8 [28, 28]; splits ``train`` and ``test``
            blue-marble   ``mask``: sea, land, lake      ``image``: uint8 [64, 64, 3]; ``longitude``, ``latitude``;
                                                         splits by longitude; option ``tiles``: "mixed" for those with
                                                         two classes at least
            austen        six novels                     a paragraph a row in reading order; ``chapter``
            brown         15 genres                      a sentence a row in reading order; ``document``,
                                                         ``paragraph``, ``tagged`` (word/tag); option
                                                         ``questions``: pairs of a question, built by
                                                         templates, and its paragraph, with ``answer``,
                                                         ``answer_start``, ``asks``
            brown-tags    none                           ``text``: words; ``tags``: a part of speech for every word;
                                                         ``genre``, ``document``
            small-talk    none                           pairs: ``text`` prompt, ``text_pair`` response; ``topic``
            ui-zh         17 programs                    pairs: ``text`` English, ``text_pair`` Chinese; ``context``
            libreoffice-  9 parts of LibreOffice         pairs: ``text`` English, ``text_pair`` Chinese; ``page``;
            help                                         option ``to``: "zh", or "en" for pairs from Chinese to
                                                         English; ``max_words``: keep pairs of at most so many English
                                                         words; ``passages``: "en" or "zh", paragraphs in one
                                                         language with ``page``, ``title`` and ``heading``
            bike-share    ``bikers``: a number           time series: an hour a row, ``time``; weather
            movielens                                    ratings of films: ``user``, ``movie``, ``title``, ``rating``,
                                                         ``time``
            spoken-words                                 sounds: ``transcript``, ``group``, ``voice``; splits ``train``,
                                                         ``validation`` and ``synthetic`` of synthetic voices, ``test``
                                                         of a person; options ``rows``, ``words``, ``seed``
            trading-volume ``log_volume``: a number       time series: a trading day a row, ``time``; return, volatility
            ============= ============================== ==============================================================
        progress: as for :func:`labkit.hub.samples.folder`.

    Raises:
        SampleError: the name is unknown or the sample cannot be fetched.
        DataError: the sample is a model, or has no such option.
    """
    if (sample := SAMPLES[name]).kind != "data":
        raise DataError(
            _("{name!r} is a model, not a data set. Data samples: {known}."),
            name=name,
            known=", ".join(_READERS),
        )
    if (reader := _READERS.get(name)) is None:
        raise DataError(
            _("the sample {name!r} is not a data set. Data samples: {known}."),
            name=name,
            known=", ".join(_READERS),
        )
    known = options_of(name)
    for option in options:
        if option not in known:
            has = f"It has: {', '.join(known)}." if known else "It has none."
            raise DataError(
                _("the sample {sample!r} has no option {option!r}.{hint} {has}"),
                sample=sample.name, option=option, hint=nearest(option, known), has=has,
            )  # fmt: skip
    return reader(folder(name, progress), **options)


def options_of(name: str) -> tuple[str, ...]:
    """The options of a data sample; none where there is no sample of this name."""
    return tuple(inspect.signature(_READERS[name]).parameters)[1:] if name in _READERS else ()


def _movie_reviews(place: Path, min_score: float = 0.0) -> RawTable:
    """Lines of id TAB mean rating TAB sentence; the sign of the rating is the class."""
    if not 0 <= min_score < 4:
        raise DataError(
            _("min_score = {min_score!r} must be at least 0 and below 4, the highest rating."),
            min_score=min_score,
        )
    rows, notes = [], list[Note]()
    for row, line in enumerate((place / "movie_reviews.txt").read_bytes().decode().split("\r\n")):
        _unused, rating, text = line.split("\t", 2)
        score = float(rating)
        if abs(score) > min_score:
            rows.append(
                {"row": row, "text": text, "label": "positive" if score > 0 else "negative", "score": score}
            )
        else:
            notes.append((row, "score is 0" if min_score == 0 else f"|score| is not above {min_score:g}"))
    return RawTable(
        {"train": _dataset(rows, score="float64")}, "text", "label", ("negative", "positive"), notes=notes
    )


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
    """A mail a line as JSON; headers are dropped, because the servers in them reveal the class.

    In one mail of twelve, characters beyond ASCII were already lost in the source and read U+FFFD.
    """
    rows, notes = [], list[Note]()
    with open(place / "mails.jsonl", encoding="utf-8") as file:
        for row, line in enumerate(file):
            mail = json.loads(line)
            message = email.message_from_string(mail["text"])
            group, subject = mail["group"], subject_of(message)
            label = "spam" if group.startswith("spam") else "ham"
            if text := body_of(message):
                rows.append({"row": row, "text": text, "label": label, "subject": subject, "group": group})
            else:
                notes.append((row, "no text in the mail"))
    data = _dataset(rows, subject="string", group="string")
    return RawTable({"train": data}, "text", "label", ("ham", "spam"), notes=notes)


def _digits(place: Path) -> RawTable:
    """Lines of 64 grey levels and the digit."""
    with gzip.open(place / "digits.csv.gz", "rt", encoding="ascii") as file:
        values = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    classes = tuple("0123456789")
    data = _pictures(values[:, :64].reshape(-1, 8, 8), values[:, 64], classes)
    return RawTable({"train": data}, "image", "label", classes, kind="image")


#: What of a cell nucleus is measured; each as mean, standard error and the mean of the three greatest.
_NUCLEUS = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points", "symmetry",
    "fractal dimension",
)  # fmt: skip
#: tc: cholesterol; ldl, hdl: lipoproteins; tch: tc ÷ hdl; ltg: log of triglycerides; glu: blood sugar.
_PATIENT = ("age", "sex", "bmi", "blood pressure", "tc", "ldl", "hdl", "tch", "ltg", "glu")


def _breast_cancer(place: Path) -> RawTable:
    """A line of counts and names, then 30 numbers and 0 (malignant) or 1 (benign)."""
    values = np.loadtxt(place / "tumours.csv", delimiter=",", skiprows=1)
    names = [f"{kind} {what}" for kind in ("mean", "error", "worst") for what in _NUCLEUS]
    label = np.where(values[:, -1] > 0, "benign", "malignant").tolist()
    data = _numbers(dict(zip(names, values.T, strict=False)), label=label)
    return RawTable({"train": data}, "", "label", ("benign", "malignant"), kind="features")


def _diabetes(place: Path) -> RawTable:
    """Ten numbers per line, and the target in a separate file."""
    values = np.loadtxt(place / "measures.gz")
    columns = dict(zip(_PATIENT, values.T, strict=True))
    data = _numbers({**columns, "progression": np.loadtxt(place / "progression.gz")})
    return RawTable({"train": data}, "", "", (), kind="features", number=("progression",))


def _numbers(columns: dict[str, np.ndarray], **more: list[str]) -> Dataset:
    from datasets import Dataset

    count = len(next(iter(columns.values())))
    floats = {name: np.asarray(values, np.float32) for name, values in columns.items()}
    return Dataset.from_dict({"row": np.arange(count), **floats, **more})


#: File → column of the label, its names by value, and numbers of two values that are categories.
_ONE_HOT: dict[str, tuple[str, dict[str, str], dict[str, dict[str, str]]]] = {
    "adult.csv": ("salary", {}, {}),
    "compas-recidivism.csv": (
        "two-year-recid",
        {"0": "no", "1": "yes"},
        {"sex": {"0": "Female", "1": "Male"}, "race": {"0": "other", "1": "White"}},
    ),
    "german.csv": ("credit-label", {"0": "good", "1": "bad"}, {"sex": {"0": "Female", "1": "Male"}}),
    "law.csv": ("PF", {"0": "failed", "1": "passed"}, {"Sex": {"1": "Female", "2": "Male"}}),
}
#: Columns that are left out: the prediction of the tool that COMPAS is, and one made of two others.
_LEFT_OUT = {"decile-score", "score-text", "sex-age"}


def _one_hot(place: Path, file: str, classes: tuple[str, ...]) -> RawTable:
    """A table of numbers and of categories, which the file has as columns ``name_word`` of 0 and 1."""
    import pyarrow.csv
    from datasets import Dataset

    table = pyarrow.csv.read_csv(place / file)
    label, names, named = _ONE_HOT[file]
    words: dict[str, list[str]] = {}
    for column in table.column_names:
        name, _unused, word = column.partition("_")
        words.setdefault(name, []).append(word)
    columns: dict[str, Any] = {"row": np.arange(len(table))}
    for name, found in words.items():
        if name in _LEFT_OUT:
            continue
        if found != [""]:
            hot = np.stack([np.asarray(table[f"{name}_{word}"]) for word in found], axis=1)
            values = [found[n] for n in hot.argmax(1).tolist()]
        else:
            values = table[name].to_pylist()
        meaning = names if name == label else named.get(name)
        if meaning:
            values = [meaning[str(value)] for value in values]
        columns["label" if name == label else name] = values
    return RawTable(
        {"train": Dataset.from_dict(columns)}, "", "label", classes, kind="features", encoded=True
    )


def _adult(place: Path) -> RawTable:
    return _one_hot(place, "adult.csv", ("<=50K", ">50K"))


def _compas(place: Path) -> RawTable:
    return _one_hot(place, "compas-recidivism.csv", ("no", "yes"))


def _german(place: Path) -> RawTable:
    return _one_hot(place, "german.csv", ("good", "bad"))


def _law(place: Path) -> RawTable:
    return _one_hot(place, "law.csv", ("failed", "passed"))


def _fashion(place: Path) -> RawTable:
    """IDX files: a header of a magic number and the sizes of the axes, then bytes."""
    splits = {
        split: _pictures(
            _idx(place / f"{split}-images.gz", 3), _idx(place / f"{split}-labels.gz", 1), CLOTHES
        )
        for split in ("train", "test")
    }
    return RawTable(splits, "image", "label", CLOTHES, kind="image")


def _austen(place: Path) -> RawTable:
    rows, notes = corpora.novels(place)
    data = _dataset(rows, chapter="int32")
    return RawTable({"train": data}, "text", "label", tuple(corpora.NOVELS.values()), notes=notes)


def _brown(place: Path, questions: bool = False) -> RawTable:
    rows, notes = corpora.brown(place)
    if questions:
        types = {"text_pair": "string", "answer": "string", "answer_start": "int32", "asks": "string"}
        asked = _dataset(built(rows), **types, document="string", paragraph="int32")
        return RawTable({"train": asked}, ("text", "text_pair"), "label", corpora.GENRES)
    data = _dataset(rows, document="string", paragraph="int32", tagged="string")
    return RawTable({"train": data}, "text", "label", corpora.GENRES, notes=notes)


def _brown_tags(place: Path) -> RawTable:
    """A sentence a row: its words with their parts of speech."""
    from datasets import Dataset

    rows, notes = corpora.brown(place)
    pairs = [[word.rpartition("/") for word in row["tagged"].split()] for row in rows]
    columns = {
        "row": [row["row"] for row in rows],
        "tokens": [[word for word, _slash, _tag in each] for each in pairs],
        "tags": [[corpora.base_tag(tag) for _word, _slash, tag in each] for each in pairs],
        "genre": [row["label"] for row in rows],
        "document": [row["document"] for row in rows],
    }
    return RawTable({"train": Dataset.from_dict(columns)}, "tokens", "", (), notes=notes, tags="tags")


def _small_talk(place: Path) -> RawTable:
    """Pairs of a prompt and a response."""
    from datasets import Dataset

    rows, notes = corpora.small_talk(place)
    columns = {name: [row[name] for row in rows] for name in ("row", "prompt", "response", "topic")}
    return RawTable(
        {"train": Dataset.from_dict(columns)}, ("prompt", "response"), "", (), notes=notes, labelled=False
    )


def _ui_zh(place: Path) -> RawTable:
    rows, notes = corpora.phrases(place)
    data = _dataset(rows, text_pair="string", context="string")
    classes = tuple(sorted({row["label"] for row in rows}))
    return RawTable({"train": data}, ("text", "text_pair"), "label", classes, notes=notes)


def _libreoffice_help(place: Path, to: str = "zh", max_words: int = 0, passages: str = "") -> RawTable:
    classes = tuple(sorted(help_pages.PROGRAMS.values()))
    if passages:
        rows, notes = help_pages.passages(place, passages)
        data = _dataset(rows, page="string", title="string", heading="string")
        return RawTable({"train": data}, "text", "label", classes, notes=notes)
    rows, notes = help_pages.translations(place, to, max_words)
    data = _dataset(rows, text_pair="string", page="string")
    return RawTable({"train": data}, ("text", "text_pair"), "label", classes, notes=notes)


def _bike_share(place: Path) -> RawTable:
    """An hour a line, with the day of the year 2011 and the hour; hours without a rental are not in the table."""
    rows = _lines_of(place / "bike-share.csv")
    start = datetime.datetime(2011, 1, 1)
    times = [start + datetime.timedelta(days=int(row["day"]) - 1, hours=int(row["hr"])) for row in rows]
    columns = {
        name: np.array([float(row[name]) for row in rows]) for name in ("temp", "hum", "windspeed", "bikers")
    }
    data = _numbers_at([time.isoformat(" ", "minutes") for time in times], columns)
    return RawTable({"train": data}, "", "", (), kind="series", number=("bikers",), time="time")


def _trading_volume(place: Path) -> RawTable:
    """A trading day a line."""
    rows = _lines_of(place / "trading-volume.csv")
    names = ("DJ_return", "log_volume", "log_volatility")
    columns = {name: np.array([float(row[name]) for row in rows]) for name in names}
    data = _numbers_at([row["date"] for row in rows], columns)
    return RawTable({"train": data}, "", "", (), kind="series", number=("log_volume",), time="time")


def _movielens(place: Path) -> RawTable:
    """A rating a line."""
    from datasets import Dataset

    rows = _lines_of(place / "ratings.csv")
    columns: dict[str, Any] = {
        name: [row[name] for row in rows] for name in ("user", "movie", "title", "genres")
    }
    columns |= {
        "rating": [float(row["rating"]) for row in rows],
        "time": [int(row["timestamp"]) for row in rows],
    }
    data = Dataset.from_dict({"row": np.arange(len(rows)), **columns})
    named = {"user": "user", "item": "movie", "title": "title"}
    return RawTable({"train": data}, "", "", (), kind="interactions", interactions=named, time="time")


def _lines_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _numbers_at(times: list[str], columns: dict[str, np.ndarray]) -> Dataset:
    from datasets import Dataset

    return Dataset.from_dict({"row": np.arange(len(times)), "time": times, **columns})


_READERS: dict[str, Callable[..., RawTable]] = {
    "movie-reviews": _movie_reviews,
    "reviews-zh": _reviews_zh,
    "spam": _spam,
    "digits": _digits,
    "breast-cancer": _breast_cancer,
    "diabetes": _diabetes,
    "adult": _adult,
    "compas": _compas,
    "german-credit": _german,
    "law-school": _law,
    "heart": tables.heart,
    "actg175": tables.actg175,
    "default": tables.default,
    "fashion-mnist": _fashion,
    "blue-marble": earth.blue_marble,
    "austen": _austen,
    "brown": _brown,
    "brown-tags": _brown_tags,
    "small-talk": _small_talk,
    "ui-zh": _ui_zh,
    "libreoffice-help": _libreoffice_help,
    "bike-share": _bike_share,
    "spoken-words": speech.spoken_words,
    "movielens": _movielens,
    "trading-volume": _trading_volume,
}


def _dataset(rows: list[dict[str, Any]], **types: str) -> Dataset:
    from datasets import Dataset, Features, Value

    columns = {"row": "int64", "text": "string", "label": "string", **types}
    return Dataset.from_list(rows, features=Features({name: Value(type_) for name, type_ in columns.items()}))


def _idx(path: Path, axes: int) -> np.ndarray:
    """The uint8 array of an IDX file."""
    data = gzip.decompress(path.read_bytes())
    begin = 4 + 4 * axes
    if data[:4] != bytes([0, 0, 8, axes]):  # 8: unsigned bytes
        raise DataError(
            _(
                "{file} is not an IDX file of bytes with {axes} axes. Run `labkit samples verify fashion-mnist`."
            ),
            file=path.name,
            axes=axes,
        )
    return np.frombuffer(data, np.uint8, offset=begin).reshape(np.frombuffer(data[4:begin], ">i4"))


def _pictures(images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> Dataset:
    """Grey pictures uint8 [n, height, width] with class ids [n], as columns that share the array's memory."""
    import pyarrow as pa
    from datasets import Array2D, Dataset, Features, Value

    count, high, wide = images.shape
    features = Features(
        {"row": Value("int64"), "image": Array2D((high, wide), "uint8"), "label": Value("string")}
    )
    kind = features.arrow_schema.field("image").type
    values: pa.Array = pa.array(images.reshape(-1))
    for length in (wide, high):
        ends = np.arange(0, len(values) + 1, length, dtype=np.int32)
        values = pa.ListArray.from_arrays(pa.array(ends), values)
    names = pa.DictionaryArray.from_arrays(pa.array(labels, pa.int32()), pa.array(classes)).cast(pa.string())
    columns = [pa.array(np.arange(count)), pa.ExtensionArray.from_storage(kind, values), names]
    return Dataset(pa.table(columns, schema=features.arrow_schema))


def body_of(message: Message) -> str:
    """The text of a mail: its plain parts, else all its text parts, else a multipart body that could not be
    parsed.

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


def _text(content: bytes, charset: str | None) -> str:
    try:
        return content.decode(charset or "latin-1", "replace")
    except LookupError:  # a charset that nobody knows, like "default_charset"
        return content.decode("latin-1")


def subject_of(message: Message) -> str:
    """The subject of a message, decoded."""
    raw = " ".join(line.strip() for line in str(message.get("subject", "")).splitlines())
    try:
        return str(make_header(decode_header(raw)))
    except (LookupError, ValueError):  # an unknown or wrong charset
        return raw
