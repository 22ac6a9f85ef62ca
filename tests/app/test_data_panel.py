"""The steps Data and Prepare by their controls, without a browser."""

from __future__ import annotations

import io
import re
import threading
import time
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import labkit as lk
from labkit.app.state import State
from labkit.app.steps.data import Data
from labkit.app.steps.prepare import Prepare
from labkit.app.widgets.tokens import read_as
from labkit.core import html as pieces
from labkit.core import units
from labkit.core.config import dumps
from labkit.train.experiment import DataConfig as Recipe
from labkit.train.experiment import Training
from labkit.train.optimizer import Optimizer
from labkit.viz import charts, media

from .hostile import HOSTILE, executable

REVIEWS = Path(__file__).parents[1] / "reviews.csv"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data():
    made = Data(language="en")
    yield made
    made.settle()
    made.close()


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def loaded(code: str) -> lk.Rows:
    names: dict = {}
    exec(code, names)
    return names["rows"]


# --- Data -------------------------------------------------------------------------------------------------------


def test_an_uploaded_file_is_kept_and_read(data: Data, tmp_path: Path):
    content = REVIEWS.read_bytes()
    uploaded(data, "../my reviews.csv", content)
    assert data.problem is None and len(data.state.rows) == 260
    kept = list((tmp_path / ".labkit" / "uploads").rglob("*.csv"))
    assert [path.name for path in kept] == ["my_reviews.csv"] and kept[0].read_bytes() == content
    assert loaded(data.code()).fingerprint == data.state.rows.fingerprint
    assert data.state.source.startswith(".labkit")


def uploaded(data: Data, name: str, content: bytes) -> None:
    data.way.value = "upload"
    told = {"name": name, "type": "", "size": len(content), "last_modified": datetime.now(UTC)}
    data.upload.value = ({**told, "content": memoryview(content)},)
    data.settle()


def packed(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return made.getvalue()


def test_a_zip_of_pictures_in_folders_by_class_is_unpacked_and_read(data: Data):
    pixels = np.random.default_rng(0).integers(0, 255, (12, 6, 6), np.uint8)
    pictures = {f"pets/{'cat' if n % 2 else 'dog'}/{n}.png": media.png(pixels[n]) for n in range(12)}
    uploaded(data, "my pets.zip", packed({**pictures, "pets/notes.pkl": b"", "__MACOSX/._x.png": b""}))
    assert data.problem is None and data.state.rows.spec.classes == ("cat", "dog")
    assert [note.detail for note in data.state.rows.report.notes] == ["pets/notes.pkl", "__MACOSX/._x.png"]
    assert data.browser.page.value.count("data:image/png;base64,") == len(data.state.rows) == 12
    assert sorted(path.suffix for path in Path(data.state.source).rglob("*.*")) == [".png"] * 12
    assert loaded(data.code()).fingerprint == data.state.rows.fingerprint
    uploaded(data, "my pets.zip", packed({**pictures, "pets/notes.pkl": b"", "__MACOSX/._x.png": b""}))
    assert data.problem is None  # the same again


def test_a_zip_that_would_do_harm_is_refused_in_the_panel(data: Data, tmp_path: Path, monkeypatch):
    uploaded(data, "evil.zip", packed({"a/1.png": b"", "../../../../evil.png": b""}))
    assert "would be written outside its folder" in data.error_box.value and data.state.rows is None
    monkeypatch.setattr("labkit.core.archive.MOST_BYTES", 1 << 20)
    uploaded(data, "bomb.zip", packed({"a/1.png": bytes(2 << 20)}))
    assert "the limit is" in data.error_box.value and data.state.rows is None
    uploaded(data, "code.zip", packed({"a/model.pkl": b""}))
    assert "no supported file" in data.error_box.value
    assert not (tmp_path.parent / "evil.png").exists()
    assert [*tmp_path.rglob("*.png"), *tmp_path.rglob("*.pkl"), *tmp_path.rglob("*.zip")] == []


def test_what_the_rows_hold_is_told(data: Data):
    data.way.value, data.path.value = "path", str(REVIEWS)
    data.load.click()
    data.settle()
    assert "260 rows 2 classes" in text_of(data.overview.value)
    assert "negative" in data.overview.value and "130 (50%)" in data.overview.value
    assert "duplicates of another row (0.4%)" in text_of(data.problems.value) and " 33 " in text_of(
        data.problems.value
    )
    page = data.browser
    assert "1 to 6 of 260" in page.where.value and page.back.disabled
    page.on.click()
    assert "7 to 12 of 260" in page.where.value
    page.label.value = 1
    assert "1 to 6 of 130" in page.where.value and "negative" not in page.page.value


def test_columns_are_detected_and_another_choice_applies_at_once(data: Data, tmp_path: Path):
    lines = "".join(f"text one {i} abc defg hij,other text {i} klm nop,{i % 2},{i % 3}\n" for i in range(40))
    (tmp_path / "a.csv").write_text("one,two,three,four\n" + lines)
    data.way.value, data.path.value = "path", "a.csv"
    assert data.text.layout.display == "none"
    data.load.click()
    data.settle()
    assert data.problem is None and data.text.layout.display == "" and data.goal.value == "classify"
    assert [value for _, value in data.text.options] == ["", "one", "two", "three", "four"]
    assert (data.text.value, data.label.value) == ("one", "three")
    assert "a.csv · 40 rows · 4 columns · Text: one · Label: three" in text_of(data.facts.value)
    data.label.value = "four"
    data.settle()
    assert data.state.rows.spec.label == "four"
    data.goal.value = "compare"
    data.settle()
    assert data.problem is None and data.state.rows.spec.text == ("one", "two")
    data.label.value = False
    data.settle()
    assert data.state.rows.spec.label is None and type(data.state.task).__name__ == "Embed"
    assert data.code() == "import labkit as lk\n\nrows = lk.load('a.csv', text=['one', 'two'], label=False)\n"


def test_columns_that_a_kept_state_does_not_name_are_shown_as_detected(tmp_path: Path):
    (tmp_path / "a.csv").write_text(
        "note,mark\n" + "".join(f"a text of words {i},{i % 2}\n" for i in range(40))
    )
    data = Data(state=State(source="a.csv", options={"on_bad": "skip"}, language="en"))
    data.settle()
    assert (data.goal.value, data.text.value, data.label.value) == ("classify", "note", "mark")
    assert data.state.options == {"on_bad": "skip"} and data.state.rows.spec.label == "mark"
    data.close()


def test_an_error_is_below_the_columns_and_the_older_rows_are_greyed(data: Data, tmp_path: Path):
    (tmp_path / "a.csv").write_text(
        "text,label\n" + "".join(f"some text {i},{'xy'[i % 2]}\n" for i in range(40))
    )
    data.way.value, data.path.value = "path", "a.csv"
    data.load.click()
    data.settle()
    assert "lk-stale" not in data.results._dom_classes
    data.label.value = "text"
    data.settle()
    assert (
        "cannot be both the text and the label" in data.error_box.value
        and "lk.load" not in data.error_box.value
    )
    place = data.body.children.index(data.columns)
    assert data.body.children[place + 1] is data.error_box and "lk-stale" in data.results._dom_classes
    data.label.value = "label"
    data.settle()
    assert data.problem is None and "lk-stale" not in data.results._dom_classes


def test_unusable_rows_are_left_out_and_listed_or_stop(data: Data, tmp_path: Path):
    (tmp_path / "bad.csv").write_text("text,label\na b,x\nc d,y\n,x\ne f,\n")
    data.way.value, data.path.value = "path", "bad.csv"
    data.load.click()
    data.settle()
    assert data.problem is None and len(data.state.rows) == 2
    assert "excluded" in data.problems.value and "2 unusable rows left out" in data.facts.value
    assert data.state.options == {"text": "text", "label": "label", "on_bad": "skip", "missing": "drop"}
    data.bad.value = "error"
    data.settle()
    assert "row 2" in data.error_box.value


def test_other_data_reset_what_was_chosen_for_earlier_ones_unless_it_is_pinned(data: Data, tiny):
    state = data.state
    for pinned in (False, True):
        data.way.value, data.path.value = "path", str(REVIEWS)
        data.load.click()
        data.settle()
        state.model, state.steps, state.name = tiny, ({"do": "clean", "steps": ["html"]},), "films"
        state.train, state.pinned = Training(optimizer=Optimizer(learning_rate=0.003)), pinned
        data.way.value, data.sample.value = "sample", "digits"
        data.load.click()
        data.settle()
        assert data.problem is None and state.rows.spec.modality == "image"
        kept = (state.model == tiny, bool(state.steps), state.name == "films", state.train != Training())
        assert kept == (pinned,) * 4


def test_pictures_are_shown(data: Data):
    data.way.value, data.sample.value = "sample", "digits"
    data.load.click()
    data.settle()
    assert data.problem is None and data.browser.page.value.count("data:image/png;base64,") == 24
    data.path.value, data.way.value = "", "path"
    data.load.click()
    assert "nothing to load yet" in data.error_box.value


def test_a_picture_is_a_picture_and_a_sound_a_sound():
    import struct
    import wave
    import zlib
    from io import BytesIO

    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    for made, kind in ((media.png(pixels), 0), (media.png(np.stack([pixels] * 3, -1)), 2)):
        assert struct.unpack(">2I5B", made[16:29]) == (4, 3, 8, kind, 0, 0, 0)
        start = made.index(b"IDAT")
        size = struct.unpack(">I", made[start - 4 : start])[0]
        lines = np.frombuffer(zlib.decompress(made[start + 4 : start + 4 + size]), np.uint8).reshape(3, -1)
        assert (lines[:, 0] == 0).all() and (lines[:, 1 :: 3 if kind else 1] == pixels).all()
    with wave.open(BytesIO(media.wav(np.array([0.0, 1.0, -1.0]), 8000))) as sound:
        assert (sound.getframerate(), np.frombuffer(sound.readframes(3), "<i2").tolist()) == (
            8000,
            [0, 32767, -32767],
        )
    assert executable(media.sound(np.zeros(4), 8000, HOSTILE[1])) == []


# --- Prepare ----------------------------------------------------------------------------------------------------


@pytest.fixture
def prepare():
    made = Prepare(str(REVIEWS), language="en")
    made.settle()
    yield made
    made.settle()
    made.close()


def test_steps_are_switched_and_seen(prepare: Prepare):
    assert "texts are unchanged" in prepare.changes.value
    prepare.boxes["html"].value = prepare.boxes["lowercase"].value = True
    prepare.settle()
    shown = prepare.changes.value
    assert "HTML: 1, Lowercase: 253" in text_of(shown)
    assert "S&amp;<mark>amp;</mark>M" in shown and "<mark>S</mark>" not in shown
    prepare.copies.value = "exact"
    prepare.settle()
    assert "259 rows remain, 1 removed" in prepare.copied.value
    prepare.nothing.click()
    prepare.settle()
    assert prepare.state.steps == ({"do": "dedupe"},)
    assert prepare.problem is None


def test_the_split_is_seen_and_is_what_the_code_makes(prepare: Prepare):
    prepare.validation.value, prepare.seed.value, prepare.stratify.value = 0.2, 7, False
    prepare.usual.click()
    prepare.settle()
    counts = prepare.state.prepared().counts()
    for name, count in counts.items():
        assert re.search(rf"{name} {count} ", text_of(prepare.parted.value))
    rows = loaded(prepare.code())
    assert rows.fingerprint == prepare.state.prepared().fingerprint
    assert dumps(Recipe.of(rows)) == dumps(prepare.state.data)
    assert "No row of validation or test" in prepare.parted.value


def test_classes_that_a_split_lacks_are_named(tmp_path: Path):
    (tmp_path / "few.csv").write_text(
        "text,label\n" + "".join(f"text {n},{'ab'[n > 57]}\n" for n in range(60))
    )
    prepare = Prepare("few.csv", language="en")
    prepare.stratify.value = False
    prepare.settle()
    assert re.search(r"No row of \w+ has one of these classes: b\.", text_of(prepare.parted.value))
    prepare.close()


def test_leakage_stops_until_it_is_accepted(tmp_path: Path):
    known = [f"text {number}" for number in range(40)]
    for name, texts in {
        "train": known,
        "test": ["new one", *known[:9]],
        "validation": ["other", "more"],
    }.items():
        lines = "".join(f"{text},{'xy'[i % 2]}\n" for i, text in enumerate(texts))
        (tmp_path / f"{name}.csv").write_text("text,label\n" + lines)
    prepare = Prepare(str(tmp_path), language="en")
    prepare.settle()
    assert "are also in train" in prepare.error_box.value
    prepare.leak.value = True
    prepare.settle()
    assert "9 rows of test also occur in train" in prepare.parted.value
    prepare.leak.value = False
    prepare.copies.value = "exact"
    prepare.settle()
    assert "No row of validation or test" in prepare.parted.value
    prepare.close()


def test_tokens_and_what_is_cut(prepare: Prepare):
    reading = prepare.reading
    assert (
        "0 truncated (0.0%)" in reading.chart.value and "trained on the training rows" in reading.about.value
    )
    reading.own.value = "Great film, 太好了!"
    prepare.settle()
    assert '<span class="lk-token lk-token-special"' in reading.shown.value and "[CLS]" in reading.shown.value
    reading.length.value = 16
    prepare.settle()
    assert prepare.state.task.max_length == 16
    tokenizer = reading.tokenizer
    train = prepare.state.prepared()["train"]
    cut = tokenizer.encode(train["text"], max_length=16).truncated
    assert f"{cut} truncated ({cut / len(train):.1%})" in reading.chart.value
    assert prepare.problem is None


def test_a_text_is_read_as_the_tokenizer_reads_it(prepare: Prepare):
    tokenizer = prepare.reading.tokenizer
    for text in ("A burst of color, music, and dance", "x", "", *HOSTILE):
        for limit in (512, 8):
            lines = read_as(tokenizer, [text], limit)
            kept = [number for _, number, _, kind in lines if kind != "cut"]
            if len(kept) < 400:
                assert kept == tokenizer.encode([text], max_length=limit).ids.tolist(), text
    pair = read_as(tokenizer, ["one two", "three"], 512)
    assert [number for _, number, _, _ in pair] == tokenizer.encode(["one two"], ["three"], 512).ids.tolist()


def test_pictures_are_not_cleaned():
    prepare = Prepare("digits", language="en")
    prepare.settle()
    assert prepare.problem is None and prepare.cleaning.layout.display == "none"
    assert prepare.reading.root.layout.display == "none" and "validation" in prepare.parted.value
    assert [value for _, value in prepare.copies.options] == ["keep", "exact"]
    prepare.close()


# --- pieces -----------------------------------------------------------------------------------------------------


def test_pieces_escape_and_say_themselves():
    from labkit.app.widgets import drawing
    from labkit.data.prepare.quality import Histogram
    from labkit.viz.svg import inline

    found = Histogram.of(np.arange(100))
    for text in HOSTILE:
        made = pieces.joined(
            pieces.table([text], [[text]], text), pieces.cards([(text, text)]), pieces.chip(text), pieces.note(text),
            pieces.heading(text), pieces.marked(text, text[1:]), pieces.paragraph(text),
            *map(inline, (
                charts.bars([(text, 3)], text), charts.histogram(found, text, text, text, 50, text),
                charts.line([1, 2], text, text, text), charts.attention(np.eye(2), [text, text], [text, text], text),
            )),
            drawing.drawn([drawing.Block("a", 1, False, text, 1, 1)], lambda key: key, (text, text)),
            media.gallery([(np.zeros((2, 2)), text)]),
            pieces.scrolled(pieces.Html(""), text), text,
        )  # fmt: skip
        assert executable(made) == []
    assert pieces.short("a", [None, " b  c "]) == "a: b c"


@pytest.mark.parametrize(
    ("text", "other", "marked"),
    [("abc", "abd", "ab<mark>c</mark>"), ("aXb", "ab", "a<mark>X</mark>b"), ("ab", "aXb", "ab"),
     ("aa", "a", "a<mark>a</mark>"), ("", "x", ""), ("<x>", "<y>", "&lt;<mark>x</mark>&gt;")],
)  # fmt: skip
def test_what_differs_is_marked(text: str, other: str, marked: str):
    assert pieces.marked(text, other) == marked


def test_numbers_in_short():
    assert [units.scaled(n) for n in (7, 9999, 22_600_000, 1.3e12)] == ["7", "9,999", "22.6 M", "1.3 T"]
    assert [units.sized(n) for n in (7, 2e3, 3.21e9)] == ["7 B", "2 kB", "3.21 GB"]
    assert [units.timed(n) for n in (2, 0.0123, 1e-5)] == ["2 s", "12.3 ms", "10 µs"]
    assert [units.lasting(n) for n in (0.5, 65, 3900)] == ["500 ms", "1:05", "1:05:00"]


# --- what is to be learned --------------------------------------------------------------------------------------


def test_a_decimal_mark_that_is_in_doubt_is_chosen(data: Data, tmp_path: Path):
    lines = "".join(f'words number {i};"{i % 9 + 1},{100 + i}"\n' for i in range(60))
    (tmp_path / "doubt.csv").write_text("text;price\n" + lines)
    data.way.value, data.path.value = "path", "doubt.csv"
    data.load.click()
    data.settle()
    assert data.goal.value == "number" and "choose the decimal separator" in data.error_box.value
    for mark, first in ((",", 1.1), (".", 1100.0)):
        data.decimal.value = mark
        data.settle()
        assert data.problem is None and data.state.rows["train"]["target"][0] == pytest.approx([first])
        assert data.state.options["decimal"] == mark and f"decimal={mark!r}" in data.code().replace('"', "'")
    assert data.decimal.value == "."


def test_several_labels_a_number_or_features_are_chosen(data: Data, tmp_path: Path):
    lines = "".join(
        f"words number {i},{'red;blue' if i % 3 else 'green'},{i / 7:.2f},{i}\n" for i in range(60)
    )
    (tmp_path / "goals.csv").write_text("text,tags,stars,size\n" + lines)
    data.way.value, data.path.value = "path", "goals.csv"
    assert data.goal.layout.display == data.separator.layout.display == "none"
    data.load.click()
    data.settle()
    assert (data.goal.value, data.text.value, data.label.value, data.separator.value) == (
        "labels",
        "text",
        "tags",
        ";",
    )
    assert data.separator.layout.display == ""
    assert data.problem is None and data.state.rows.schema.problem_type == "labels"
    assert type(data.state.task).__name__ == "MultiLabel" and "red" in data.overview.value
    data.goal.value = "number"
    data.settle()
    data.label.value = "stars"
    data.settle()
    assert data.problem is None and data.state.rows.schema.problem_type == "number"
    assert type(data.state.task).__name__ == "Regress" and "Values of stars" in data.overview.value
    data.features.value = True
    assert data.text.layout.display == "none"
    data.settle()
    assert data.problem is None and data.state.rows.schema.modality == "features"
    assert loaded(data.code()).fingerprint == data.state.rows.fingerprint


def test_reading_is_cancelled_and_nothing_is_half_applied(data: Data, monkeypatch: pytest.MonkeyPatch):
    from labkit.app.steps import data as step

    lines = [
        f"{word} film {n},{label},{n % 3}"
        for n in range(30)
        for word, label in (("fine", "good"), ("dull", "bad"))
    ]
    Path("small.csv").write_text("\n".join(["review,label,stars", *lines]), encoding="utf-8")
    data.way.value, data.path.value = "path", "small.csv"
    data.load.click()
    data.settle()
    before, chosen = data.state.rows, data.label.value
    assert data.problem is None and data.cancel.layout.visibility == "hidden"
    begun, ended, usual = threading.Event(), threading.Event(), step.load

    def slow(*args: object, **options: object) -> lk.Rows:
        begun.set()
        assert ended.wait(60)
        return usual(*args, **options)

    monkeypatch.setattr(step, "load", slow)
    data.label.value = "stars"  # applied at once: read again
    assert begun.wait(30) and data.cancel.layout.visibility == "visible"
    data.cancel.click()
    data.settle()  # though it is still being read
    assert data.state.rows is before and data.label.value == chosen and data.problem is None
    assert data.cancel.layout.visibility == "hidden" and "Cancelled" in data.note_box.value
    monkeypatch.setattr(step, "load", usual)
    data.label.value = "stars"  # not kept waiting by the reading that was cancelled
    data.settle()
    found = data.state.rows
    assert found is not before and found.schema.classes == ("0", "1", "2")
    ended.set()
    data.settle()
    assert data.state.rows is found


def test_a_download_is_cancelled_at_once(data: Data, monkeypatch: pytest.MonkeyPatch):
    from labkit.app.steps import data as step
    from labkit.hub.download import check_cancelled

    begun, over = threading.Event(), threading.Event()

    def slow(name: str, report) -> Path:
        report(1_500_000, 3_000_000)
        begun.set()
        try:
            while True:
                check_cancelled()
                time.sleep(0.01)
        finally:
            over.set()

    monkeypatch.setattr(step, "folder", slow)
    monkeypatch.setattr(step, "is_cached", lambda name: False)
    data.way.value, data.sample.value = "sample", "movie-reviews"
    data.load.click()
    assert begun.wait(30) and "1.5 MB / 3 MB" in data.arrived.value
    data.cancel.click()
    data.settle()
    assert over.wait(10) and data.state.rows is None and data.problem is None and data.arrived.value == ""
