"""Encodings that nothing names: the likeliest by its letters, and two readings side by side where it is in doubt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import labkit as lk
from labkit.core.errors import DataError
from labkit.data.io.encoding import detect
from labkit.data.io.encoding_latin import example, guess
from labkit.data.io.load import read_table


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


TEXTS = [
    ("cp1252", "El niño come pan con su abuela y está contento; mañana será otro día."),
    ("cp1252", "¿Dónde está la biblioteca? ¡Qué corazón más señorial!"),
    ("cp1252", "Très bien joué, mais ça va être difficile à l’hôpital."),
    ("cp1252", "À bientôt, garçon, cœur de père où naît l’été"),
    ("cp1252", "Não gosto do filme, é uma decepção; a atuação é péssima"),
    ("cp1252", "Der Film ist schön, aber für die Größe von München zu süß"),
    ("cp1252", "perché è così, e la città è più bella"),
    ("cp1252", "på svenska är det så här, och vi går åt höger"),
    ("cp1252", "It costs £5, or 7€ – “really”, he said…"),
    ("cp1252", "only £ and 20°C"),
    ("cp1252", "MAÑANA SERÁ OTRO DÍA"),
    ("cp1250", "to jest bardzo dobry film, się nie zawiodłem, gęś i żółw"),
    ("cp1250", "Zażółć gęślą jaźń"),
    ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy"),
    ("cp1250", "Ez egy nagyon jó film, és a főszereplő is jó volt, örültünk a nőknek"),
    ("cp1250", "Ovo je dobar film koji sam gledao već, čudno i šašavo"),
    ("cp1254", "Bu film çok güzeldi, değil mi? İyi akşamlar, şimdi ışık yok"),
    ("mac-roman", "El niño está en España, qué más; Très bien"),
    ("cp850", "El niño está en España, ¿qué más?"),
]


@pytest.mark.parametrize(("encoding", "text"), TEXTS)
def test_the_letters_say_which_encoding_a_text_is_in(tmp_path: Path, encoding: str, text: str):
    path = tmp_path / "x.csv"
    path.write_text(f'text,label\n"{text}",a\nplain,b\n', encoding=encoding)
    assert read_table(path).table["text"][0].as_py() == text


@pytest.mark.parametrize("word", ["niño", "señor", "Très", "père", "forêt", "Não", "São", "ação", "coração", "über",
                                  "Straße", "café", "œuvre", "£10", "20 £", "1º", "là", "à", "Noël",
                                  "garçon"])  # fmt: skip
def test_one_word_of_western_europe_is_enough(word: str):
    found = guess(word.encode("cp1252"))
    assert found is not None and found.name == "cp1252"


def test_a_doubtful_guess_shows_both_readings(tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_bytes("text,label\njalapeño,a\nplain,b\n".encode("cp1252"))
    rows = lk.load(path)
    assert rows["train"]["text"][0] == "jalapeño"
    assert rows.report.counts()["counted"] == {"encoding guessed: cp1252": 1, "encoding uncertain": 1}
    (note,) = rows.report.of("counted")["encoding uncertain"]
    assert "'jalapeño,a' in cp1252" in note.detail and "'jalapeńo,a' in cp1250" in note.detail
    assert len(lk.load(path, encoding="cp1250").report) == 0


SCRIPTS = [
    ("gb18030", "这家酒店很好，服务不错"),
    ("gb18030", "很好的电影"),
    ("gb18030", "I love 北京"),
    ("big5", "很好的電影，我們都喜歡"),
    ("cp949", "아주 좋은 영화였다"),
    ("cp949", "정말 재미있다"),
    ("cp932", "とても良い映画でした。"),
    ("euc_jp", "とても良い映画でした。"),
    ("cp932", "つまらない"),
    ("cp1251", "Привет, мир"),
    ("cp1251", "Очень хороший фильм, мне понравилось"),
    ("koi8-r", "Очень хороший фильм, мне понравилось"),
    ("cp866", "Очень хороший фильм, мне понравилось"),
    ("cp1253", "Καλημέρα κόσμε, πολύ καλή ταινία"),
    ("cp1255", "שלום עולם, סרט טוב מאוד"),
    ("cp1256", "مرحبا بالعالم هذا فيلم جيد"),
    ("cp874", "ภาพยนตร์ดีมาก"),
]


@pytest.mark.parametrize(("encoding", "text"), SCRIPTS)
def test_other_scripts_by_their_common_characters(tmp_path: Path, encoding: str, text: str):
    path = tmp_path / "x.csv"
    path.write_text(f"text,label\n{text.replace(',', ' ')},a\nplain,b\n", encoding=encoding)
    found = read_table(path)
    doubt = found.report.of("counted").get("encoding uncertain", [])
    assert found.table["text"][0].as_py() == text.replace(",", " ") or any(
        encoding in note.detail for note in doubt
    )


def classes(folder: Path, texts: dict[str, tuple[str, str]]) -> None:
    for name, (text, encoding) in texts.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding=encoding)


def test_one_file_of_latin_1_among_others_of_utf_8(tmp_path: Path):
    french = {
        f"{label}/{n}.txt": (f"très bon film numéro {n}, à voir", "utf-8") for label in "ab" for n in range(4)
    }
    classes(tmp_path, {**french, "a/9.txt": ("thé", "latin-1"), "b/9.txt": ("l'été dernier", "latin-1")})
    rows = lk.load(tmp_path)
    texts = dict(zip(rows["train"]["file"][:], rows["train"]["text"][:], strict=True))
    assert texts["a/9.txt"] == "thé" and texts["b/9.txt"] == "l'été dernier"
    assert rows.report.counts() == {"counted": {"encoding guessed": 2}}


def test_files_next_to_it_say_the_language_and_the_script_of_a_short_one(tmp_path: Path):
    polish = "to jest bardzo dobry film, nie zawiodłem się, że hej, gęś i żółw {}"
    classes(
        tmp_path / "pl", {f"{label}/{n}.txt": (polish.format(n), "utf-8") for label in "ab" for n in range(3)}
    )
    classes(tmp_path / "pl", {"a/9.txt": ("koń", "cp1250")})
    rows = lk.load(tmp_path / "pl")
    assert rows["train"]["text"][rows["train"]["file"].index("a/9.txt")] == "koń"
    for encoding, known, short in (("cp932", "とても良い映画でした", "映画"), ("cp949", "아주 좋은 영화였다", "영화"),
                                   ("gb18030", "这家酒店很好", "很好"), ("cp1251", "хороший фильм",
                                   "мир")):  # fmt: skip
        folder = tmp_path / encoding
        classes(folder, {f"{label}/{n}.txt": (f"{known} {n}", "utf-8") for label in "ab" for n in range(3)})
        classes(folder, {"a/9.txt": (short, encoding)})
        rows = lk.load(folder)
        assert rows["train"]["text"][rows["train"]["file"].index("a/9.txt")] == short


def test_an_encoding_that_is_given_is_taken(tmp_path: Path):
    path = tmp_path / "x.txt"
    path.write_text("niño", encoding="cp1252")
    assert detect(path, "cp1250").name == "cp1250" and not detect(path, "cp1250").guessed


def test_bytes_that_are_no_text_are_refused(tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_bytes(bytes(np.random.default_rng(0).integers(0, 256, 3000, np.uint8)))
    with pytest.raises(DataError, match="not text in any known encoding"):
        lk.load(path)


@pytest.mark.parametrize(
    ("one", "two"), [("a b", "a b c"), ("a b c", "a b"), ("a", "a\n"), ("", "x"), ("a b", "a  c")]
)
def test_two_readings_that_differ_anywhere_are_shown(one: str, two: str) -> None:
    assert len(set(example(one, two))) == 2
