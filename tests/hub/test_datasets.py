"""The data samples as tables: the counts of the sources, and no row lost without a note."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from email import message_from_string
from pathlib import Path

import numpy as np
import pytest

from labkit.core.errors import DataError, SampleError
from labkit.data.batching.arrays import stack
from labkit.data.io.load import load
from labkit.hub import corpora, datasets, help_pages
from labkit.hub.datasets import RawTable, table


def given(monkeypatch: pytest.MonkeyPatch, place: Path, **files: bytes) -> None:
    """Let the samples lie in a folder of small files of the same form."""
    for name, data in files.items():
        (place / name.replace("__", ".")).write_bytes(data)
    monkeypatch.setattr(datasets, "folder", lambda name, progress=None: place)


def rows(found: RawTable) -> list[dict]:
    return found.splits["train"].to_list()


def test_a_one_hot_table_gets_its_categories_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "age,sex_Female,sex_Male,area_a_b,area_c,salary_<=50K,salary_>50K",
        "30,1,0,0,1,0,1",
        "41,0,1,1,0,1,0",
    ]
    given(monkeypatch, tmp_path, adult__csv="\n".join(lines).encode())
    assert rows(table("adult")) == [
        {"row": 0, "age": 30, "sex": "Female", "area": "c", "label": ">50K"},
        {"row": 1, "age": 41, "sex": "Male", "area": "a_b", "label": "<=50K"},
    ]
    loaded = load("adult", groups="sex", features=["age", "area"])["train"]
    assert loaded["sex"] == ["Female", "Male"] and set(loaded.column_names) == {
        "label", "row", "sex", "age", "area=a_b", "area=c",
    }  # fmt: skip
    with pytest.raises(DataError, match="sexx"):
        load("adult", groups="sexx")


def test_movie_reviews_take_the_class_from_the_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["1\t2.5\tGood. ", "2\t0.0\tSo\tso.", "3\t-1.0\tB\u00e9art\u2028cannot\u0085act", "4\t1.0\tFine"]
    given(monkeypatch, tmp_path, movie_reviews__txt="\r\n".join(lines).encode())
    found = table("movie-reviews")
    assert rows(found) == [
        {"row": 0, "text": "Good. ", "label": "positive", "score": 2.5},
        {"row": 2, "text": "B\u00e9art\u2028cannot\u0085act", "label": "negative", "score": -1.0},
        {"row": 3, "text": "Fine", "label": "positive", "score": 1.0},
    ]
    assert found.notes == [(1, "score is 0")] and found.classes == ("negative", "positive")
    assert table("movie-reviews", min_score=1.0).notes == [
        (row, "|score| is not above 1") for row in (1, 2, 3)
    ]


def test_reviews_zh_number_both_files_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, tmp_path, pos__txt="好\n很好\n".encode(), neg__txt="差\n\n不好\n".encode())
    found = table("reviews-zh")
    assert [(row["row"], row["text"], row["label"]) for row in rows(found)] == [
        (0, "好", "positive"), (1, "很好", "positive"), (2, "差", "negative"), (4, "不好", "negative"),
    ]  # fmt: skip
    assert found.notes == [(3, "empty line")]


def mail(body: str, *headers: str) -> str:
    return "\n".join(["From x@y Thu Aug 22 13:17:22 2002", "Received: from tell.tale", *headers, "", body])


TWO = 'Content-Type: multipart/alternative; boundary="b"'
PARTS = "--b\nContent-Type: text/plain\n\n{}\n--b\nContent-Type: text/html\n\n<b>hi</b>\n--b--\n"
QUOTED = "Content-Transfer-Encoding: Quoted-Printable"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (mail("plain\nlines\n"), "plain\nlines\n"),
        (mail("caf=E9 =\nau lait", "Content-Type: text/plain; charset=iso-8859-1", QUOTED), "café au lait"),
        (
            mail("xOO6ww==", "Content-Type: text/plain; charset=gb2312", "Content-Transfer-Encoding: base64"),
            "你好",
        ),
        (mail("=E9", "Content-Type: text/plain; charset=default_charset", QUOTED), "é"),
        (mail("lost \ufffd =41", "Content-Type: text/plain", QUOTED), "lost ? A"),
        (mail("kept \ufffd =41"), "kept \ufffd =41"),
        (mail("<p>a</p>", "Content-Type: text/html"), "<p>a</p>"),
        (mail(PARTS.format("only this"), TWO), "only this"),
        (mail(PARTS.format("  "), TWO), "  \n<b>hi</b>"),
        (mail("no boundary in sight", TWO), "no boundary in sight"),
        (mail("AAAA", "Content-Type: application/octet-stream; name=a"), "AAAA"),
        (mail(" \n"), ""),
    ],
)
def test_the_body_of_a_mail(text: str, said: str) -> None:
    assert datasets.body_of(message_from_string(text)) == said


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("Subject: Re: a\n\t folded one", "Re: a folded one"),
        ("Subject: =?iso-8859-1?q?caf=E9?=", "café"),
        ("Subject: =?no-such-charset?q?caf=E9?=", "=?no-such-charset?q?caf=E9?="),
        ("To: nobody", ""),
    ],
)
def test_the_subject_of_a_mail(header: str, said: str) -> None:
    assert datasets.subject_of(message_from_string(mail("", header))) == said


def test_spam_keeps_no_header_and_notes_empty_mails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mails = [("easy-ham-1", mail("hello", "Subject: s")), ("hard-ham-1", mail("")), ("spam-2", mail("buy"))]
    lines = [json.dumps({"group": group, "text": text}) for group, text in mails]
    given(monkeypatch, tmp_path, mails__jsonl="\n".join(lines).encode())
    found = table("spam")
    assert rows(found) == [
        {"row": 0, "text": "hello", "label": "ham", "subject": "s", "group": "easy-ham-1"},
        {"row": 2, "text": "buy", "label": "spam", "subject": "", "group": "spam-2"},
    ]
    assert found.notes == [(1, "no text in the mail")] and found.classes == ("ham", "spam")


def test_digits_are_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = ",".join(map(str, [*range(17), *[0] * 47, 7])) + "\n"
    given(monkeypatch, tmp_path, digits__csv__gz=gzip.compress((line * 2).encode()))
    found = table("digits")
    image = np.asarray(found.splits["train"][1]["image"])
    assert image.shape == (8, 8) and image.ravel()[:17].tolist() == list(range(17))
    assert found.splits["train"].features["image"].dtype == "uint8"
    assert found.splits["train"]["label"][:] == ["7", "7"]
    assert (found.kind, found.text, found.classes) == ("image", "image", tuple("0123456789"))


def idx(images: np.ndarray) -> bytes:
    sizes = np.array(images.shape, ">i4").tobytes()
    return gzip.compress(bytes([0, 0, 8, images.ndim]) + sizes + images.astype(np.uint8).tobytes())


def test_fashion_keeps_its_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.arange(5 * 3 * 4).reshape(5, 3, 4) * 4
    files = {"train-images": images[:3], "train-labels": np.array([9, 0, 2])}
    files |= {"test-images": images[3:], "test-labels": np.array([1, 1])}
    given(monkeypatch, tmp_path, **{f"{name}__gz": idx(data) for name, data in files.items()})
    found = table("fashion-mnist")
    assert {split: data["label"][:] for split, data in found.splits.items()} == {
        "train": ["Ankle boot", "T-shirt/top", "Pullover"],
        "test": ["Trouser", "Trouser"],
    }
    test = found.splits["test"]
    assert test["row"][:] == [0, 1] and test.features["image"].dtype == "uint8"
    np.testing.assert_array_equal(np.stack([np.asarray(image) for image in test["image"]]), images[3:])

    loaded = load("fashion-mnist")
    assert list(loaded["train"]["row"]) == [0, 1, 2] and list(loaded["test"]["row"]) == [3, 4]
    pictures = stack(loaded["train"], loaded.spec)
    np.testing.assert_array_equal(pictures.inputs[..., 0], images[:3])
    assert pictures.label.tolist() == [9, 0, 2]

    (tmp_path / "test-labels.gz").write_bytes(idx(images))
    with pytest.raises(DataError, match=r"test-labels\.gz is not an IDX file of bytes with 1 axes"):
        table("fashion-mnist")


NOVEL = """{title}

by A Lady


  VOLUME I
 \t
CHAPTER I

It was  the
first
of May.

"Oh!"

  * * *

chapter 2

Volume the First was read.

THE END

A colophon
"""


def test_novels_are_paragraphs_in_chapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, title in corpora.NOVELS.items():
        (tmp_path / f"{name}.txt").write_bytes(NOVEL.replace("{title}", title).encode())
    given(monkeypatch, tmp_path)
    found = table("austen")
    assert rows(found)[:4] == [
        {"row": 4, "text": "It was the first of May.", "label": "Sense and Sensibility", "chapter": 1},
        {"row": 5, "text": '"Oh!"', "label": "Sense and Sensibility", "chapter": 1},
        {"row": 8, "text": "Volume the First was read.", "label": "Sense and Sensibility", "chapter": 2},
        {"row": 15, "text": "It was the first of May.", "label": "Pride and Prejudice", "chapter": 1},
    ]
    outside = "before the first chapter or after the last"
    assert found.notes[:8] == [
        (0, outside), (1, outside), (2, "heading"), (3, "heading"), (6, "no word in it"), (7, "heading"),
        (9, outside), (10, outside),
    ]  # fmt: skip
    assert len(found.splits["train"]) + len(found.notes) == 6 * 11
    assert found.classes[0] == "Sense and Sensibility" and found.classes[-1] == "Persuasion"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("`` Why '' , he said , `` so late '' ? ?", '"Why", he said, "so late"?'),
        ("one ( or two ) ; ;", "one (or two);"),
        ("to Ivan Allen Jr. .", "to Ivan Allen Jr."),
        ("the ' real ' thing of Texas' and ' more '", "the 'real' thing of Texas' and 'more'"),
        ("a 1/4'' hole -- at 3 lb / hr. : go ! !", 'a 1/4" hole -- at 3 lb/hr.: go!'),
        ("'' .", '".'),
        ("( ( 1957 ) )", "((1957))"),
    ],
)
def test_sentences_are_written_as_text(words: str, said: str) -> None:
    assert corpora.sentence(words.split()) == said


def test_brown_counts_paragraphs_in_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "# ca01 news\nOne/cd ./.\nTwo/cd  ?/. ?/.\n\n\n\tA//nn b/nn\n\n# cr01 humor\nHa/uh !/. !/.\n\n"
    given(monkeypatch, tmp_path, brown__txt=lines.encode())
    found = table("brown")
    keys = ("row", "text", "label", "document", "paragraph", "tagged")
    assert [tuple(row[key] for key in keys) for row in rows(found)] == [
        (0, "One.", "news", "ca01", 1, "One/cd ./."),
        (1, "Two?", "news", "ca01", 1, "Two/cd ?/. ?/."),
        (2, "A/ b", "news", "ca01", 2, "A//nn b/nn"),
        (3, "Ha!", "humor", "cr01", 1, "Ha/uh !/. !/."),
    ]
    assert found.notes == [] and len(found.classes) == 15


def test_phrases_are_pairs_without_repetition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = {
        "": {"domain": "lab"},
        "Edit": ["编辑"],
        "menu\x04Edit": ["编辑"],
        "menu\x04Run": ["运行"],
        "%1 row": ["%1 行", ""],
    }
    two = {"": {"domain": "git"}, "Edit": ["修改"], "JSON": ["JSON"], "Run": ["运行"], "Gone": [""]}
    packs = "".join(json.dumps(pack, indent=2, ensure_ascii=False) + "\n" for pack in (one, two))
    given(monkeypatch, tmp_path, phrases__json=packs.encode())
    found = table("ui-zh")
    keys = ("row", "text", "text_pair", "label", "context")
    assert [tuple(row[key] for key in keys) for row in rows(found)] == [
        (0, "Edit", "编辑", "lab", ""),
        (2, "Run", "运行", "lab", "menu"),
        (3, "%1 row", "%1 行", "lab", ""),
        (4, "Edit", "修改", "git", ""),
    ]
    again, same = "the same pair came before", "not translated"
    assert found.notes == [(1, again), (5, same), (6, again), (7, same)]
    loaded = load("ui-zh")
    assert (
        loaded.spec.pairs
        and loaded["train"][1]["text_pair"] == "运行"
        and loaded.spec.classes == ("git", "lab")
    )


def test_help_pages_are_aligned_by_paragraph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alternatives for other systems, program text and paragraphs without an identifier are left out."""
    pages = {
        "en/scalc/a.html": """<h1 id="hd_id1" dir="auto"><a name="x"></a>Currency &amp;
            money</h1><p>no id</p><p id="par_id2" class="paragraph">Choose <span hidden="true" class="MAC"><span>
            Preferences</span></span><span hidden="true" id="default1">Tools</span> - <b>Options</b>.</p>
            <p id="par_id3" class="code">x = 1</p><h2 id="par_id4">Notes</h2><p id="par_id5">One.</p>
            <p id="par_id6">One.</p><p id="par_id2">again</p>""",
        "zh/scalc/a.html": """<h1 id="hd_id1">货币</h1><p id="par_id2">选择「工具 - 选项」。</p>
            <p id="par_id5">一。</p><p id="par_id6">一。</p><h2 id="par_id4">Notes</h2>""",
        "en/shared/b.html": "<p id='par_id1'>Two words</p>",
    }
    for name, content in pages.items():
        path = tmp_path / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    help_pages.convert(tmp_path)
    given(monkeypatch, tmp_path)
    found = table("libreoffice-help")
    keys = ("row", "text", "text_pair", "label", "page")
    expected = [
        (0, "Currency & money", "货币", "Calc", "scalc/a"),
        (1, "Choose Tools - Options.", "选择「工具 - 选项」。", "Calc", "scalc/a"),
        (3, "One.", "一。", "Calc", "scalc/a"),
    ]
    assert [tuple(row[key] for key in keys) for row in rows(found)] == expected
    assert [note for _row, note in found.notes] == [
        "not translated",
        "the same pair came before",
        "not translated",
    ]
    back = table("libreoffice-help", to="en", max_words=2)
    assert [row["text"] for row in rows(back)] == ["一。"] and rows(back)[0]["text_pair"] == "One."
    found = table("libreoffice-help", passages="en")
    keys = ("row", "text", "page", "title", "heading")
    assert [tuple(row[key] for key in keys) for row in rows(found)] == [
        (1, "Choose Tools - Options.", "scalc/a", "Currency & money", "Currency & money"),
        (3, "One.", "scalc/a", "Currency & money", "Notes"),
        (4, "One.", "scalc/a", "Currency & money", "Notes"),
        (5, "Two words", "shared/b", "", ""),
    ]
    with pytest.raises(DataError, match="to = 'de' is not a language of this sample; use en or zh"):
        table("libreoffice-help", to="de")


def test_a_scikit_learn_that_reads_the_same_digits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("LABKIT_OFFLINE", "1")  # the sample is in the installed package
    theirs, ours = load_digits(), table("digits", progress=False).splits["train"].with_format("numpy")
    np.testing.assert_array_equal(np.stack(list(ours["image"])), theirs.images)
    assert [int(label) for label in ours["label"]] == theirs.target.tolist()


@pytest.mark.parametrize(
    ("name", "options", "error", "said"),
    [
        ("spma", {}, SampleError, "unknown sample 'spma'. Did you mean 'spam'?"),
        (
            "minilm-l6",
            {},
            DataError,
            "'minilm-l6' is a model, not a data set. Data samples: movie-reviews, reviews-zh,",
        ),
        ("digits", {"size": 8}, DataError, "the sample 'digits' has no option 'size'. It has none."),
        (
            "movie-reviews",
            {"minscore": 1},
            DataError,
            "no option 'minscore'. Did you mean 'min_score'? It has: min_score.",
        ),
        ("movie-reviews", {"min_score": 4}, DataError, "min_score = 4 must be at least 0 and below 4"),
    ],
)
def test_what_cannot_be_read_is_refused(
    name: str,
    options: dict,
    error: type[Exception],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given(monkeypatch, tmp_path)
    with pytest.raises(error) as raised:
        table(name, **options)
    assert said in str(raised.value)


@pytest.mark.samples
@pytest.mark.parametrize(
    ("name", "options", "counts", "left_out"),
    [
        ("movie-reviews", {}, {"negative": 5326, "positive": 5242}, 37),
        ("movie-reviews", {"min_score": 1.0}, {"negative": 4484, "positive": 4539}, 1582),
        ("reviews-zh", {}, {"negative": 18575, "positive": 16548}, 1),
        ("spam", {}, {"ham": 4150, "spam": 1895}, 1),
        (
            "digits",
            {},
            dict(zip("0123456789", (178, 182, 177, 183, 181, 182, 181, 179, 174, 180), strict=True)),
            0,
        ),
        ("fashion-mnist", {}, dict.fromkeys(datasets.CLOTHES, 6000), 0),
        ("adult", {}, {"<=50K": 34014, ">50K": 11208}, 0),  # UCI: 24.78 % of the rows without missing values
        ("compas", {}, {"no": 3358, "yes": 2809}, 0),
        ("german-credit", {}, {"good": 700, "bad": 300}, 0),  # UCI
        ("law-school", {}, {"failed": 2431, "passed": 19360}, 0),
        (
            "austen",
            {},
            dict(zip(corpora.NOVELS.values(), (1809, 2057, 1789, 2315, 1018, 1006), strict=True)),
            304,
        ),
    ],
)
def test_the_real_samples_have_their_counts(name: str, options: dict, counts: dict, left_out: int) -> None:
    found = table(name, **options)
    data = found.splits["train"]
    assert Counter(data["label"]) == counts and set(counts) == set(found.classes)
    numbers = [*data["row"], *(row for row, _ in found.notes)]
    assert len(found.notes) == left_out and sorted(numbers) == list(range(len(data) + left_out))
    if found.kind == "text":
        assert all(text.strip() for text in data["text"])
    if name == "austen":  # as the novels are known to have
        chapters = {
            title: max(data.filter(lambda row, of=title: row["label"] == of)["chapter"]) for title in counts
        }
        assert list(chapters.values()) == [50, 61, 48, 55, 31, 24]
    if name == "spam":  # headers would tell; one mail holds a whole mail as its text
        assert sum(text.lstrip().startswith(("Return-Path:", "Received:")) for text in data["text"]) == 1


@pytest.mark.samples
def test_the_real_brown_corpus_is_whole() -> None:
    """57,340 sentences and 1,161,192 words: what the corpus is known to have (Francis and Kucera's Form C)."""
    data = table("brown").splits["train"]
    assert (len(data), len(set(data["document"])), len(set(data["label"]))) == (57340, 500, 15)
    assert sum(len(line.split()) for line in data["tagged"]) == 1_161_192
    assert data[0]["text"] == (
        "The Fulton County Grand Jury said Friday an investigation of Atlanta's recent primary election produced "
        '"no evidence" that any irregularities took place.'
    )


@pytest.mark.samples
def test_the_real_phrases_and_pictures_load() -> None:
    phrases = load("ui-zh")
    assert phrases.spec.rows == {"train": 3082} and phrases.spec.pairs and len(phrases.spec.classes) == 17
    assert phrases.report.counts()["refused"] == {"not translated": 156, "the same pair came before": 226}
    pages = load("libreoffice-help")
    assert pages.spec.rows == {"train": 23823} and pages.spec.pairs and len(pages.spec.classes) == 9
    clothes = load("fashion-mnist")
    assert clothes.spec.rows == {"train": 60000, "test": 10000} and clothes.spec.class_counts()["Bag"] == 7000
    assert stack(clothes["test"], clothes.spec).inputs.shape == (10000, 28, 28, 1)


def test_heart_reads_what_was_not_measured_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "id,age,sex,dataset,cp,trestbps,chol,fbs,restecg,thalch,exang,oldpeak,slope,ca,thal,num"
    lines = [
        head,
        "1,63,Male,Cleveland,typical angina,145,233,TRUE,lv hypertrophy,150,FALSE,2.3,downsloping,0,fixed defect,0",
        "2,41,Female,Switzerland,asymptomatic,0,0,,normal,,TRUE,,,,,3",
        "3,50,Female,Hungary,asymptomatic,120,200,FALSE,normal,130,FALSE,1.5,flat,,normal,1",
        "4,51,Male,Hungary,non-anginal,121,210,TRUE,normal,131,TRUE,0.5,flat,2,normal,0",
    ]
    given(monkeypatch, tmp_path, heart__csv="\n".join(lines).encode())
    found = rows(table("heart"))
    assert [row["label"] for row in found] == ["healthy", "disease", "disease", "healthy"]
    assert [row["site"] for row in found] == ["Cleveland", "Switzerland", "Hungary", "Hungary"]
    assert [row["cholesterol"] for row in found] == [233, None, 200, 210]
    assert [row["resting_blood_pressure"] for row in found] == [145, None, 120, 121]
    loaded = load("heart")
    assert loaded["train"]["site"] == [row["site"] for row in found]
    assert "site" not in {how.name for how in loaded.schema.features}
    assert loaded["train"]["cholesterol missing"] == [0.0, 1.0, 0.0, 0.0]
    assert "cholesterol missing" not in load("heart", indicators=False)["train"].column_names


def test_patients_who_left_a_trial_early_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = (
        "age,wtkg,hemo,homo,drugs,karnof,oprior,z30,zprior,preanti,race,gender,str2,strat,symptom,treat,offtrt,cd40,"
        "cd420,cd496,r,cd80,cd820,cens,days,arms"
    )
    columns = head.split(",")

    def line(number: int, cens: int, days: int) -> str:
        values = dict.fromkeys(columns, 1) | {"age": 30 + number, "cens": cens, "days": days, "cd496": "NA"}
        return f'"{number}",{10000 + number},' + ",".join(str(values[name]) for name in columns)

    ends = [(1, 100), (1, 900), (0, 900), (0, 100), (0, 730)]
    lines = [",".join(["", "pidnum", *columns]), *(line(n, *end) for n, end in enumerate(ends))]
    given(monkeypatch, tmp_path, actg175__csv="\n".join(lines).encode())
    found = table("actg175")
    assert [(row["row"], row["label"]) for row in rows(found)] == [(0, "yes"), (1, "no"), (2, "no")]
    assert found.notes == [(3, "left the trial before day 730"), (4, "left the trial before day 730")]
    assert rows(found)[0]["treatment"] == "zidovudine + didanosine" and rows(found)[0]["symptoms"] is True
    assert not {"cens", "days", "cd420", "offtrt", "pidnum"} & set(
        rows(found)[0]
    )  # known later, or an identifier
    assert [row["label"] for row in rows(table("actg175", days=1000)) if row["row"] == 1] == ["yes"]


def test_defaults_of_credit_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["default,student,balance,income", "No,Yes,729.5,12106.1", "Yes,No,1073.5,31767.1"]
    given(monkeypatch, tmp_path, default__csv="\n".join(lines).encode())
    assert rows(table("default")) == [
        {"row": 0, "balance": 729.5, "income": 12106.1, "student": True, "label": "no"},
        {"row": 1, "balance": 1073.5, "income": 31767.1, "student": False, "label": "yes"},
    ]
