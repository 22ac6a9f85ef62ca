"""Search in texts: BM25, metrics and fusion equal independent counts; passages, indexes and answers are as given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pytest
from pypdf import PdfReader, PdfWriter
from sklearn.metrics import ndcg_score
from typer.testing import CliRunner

import labkit as lk
from labkit.cli.main import app
from labkit.core.errors import ConfigError, DataError
from labkit.retrieval.bm25 import BM25, terms
from labkit.retrieval.index import SearchIndex
from labkit.retrieval.report import RetrievalReport
from labkit.retrieval.rerank import cross_encoder, pairs

KEPT = Path(__file__).parents[1] / "inference" / "exports" / "kept"
ENCODER = KEPT / "bert-embed-mean-bpe"
WORDS = [
    "open",
    "the",
    "file",
    "menu",
    "save",
    "cell",
    "format",
    "table",
    "chart",
    "print",
    "page",
    "currency",
    "date",
]
CHINESE = "打开文件菜单保存单元格格式表格图表打印页面货币日期"


@pytest.fixture(scope="module")
def texts() -> list[str]:
    random = np.random.default_rng(0)
    english = [" ".join(random.choice(WORDS, random.integers(3, 12))) for _ in range(40)]
    chinese = ["".join(random.choice(list(CHINESE), random.integers(4, 12))) for _ in range(20)]
    return [*english, *chinese]


@pytest.fixture(scope="module")
def index(texts) -> SearchIndex:
    rows = [{"text": text, "file": f"{number // 6}.txt"} for number, text in enumerate(texts)]
    return lk.SearchIndex.from_rows(rows, ENCODER, source="file", dtype="float32")


def test_terms_are_words_and_chinese_characters_and_bigrams():
    assert terms("Open FILE_1, é!") == ["open", "file_1", "é"]
    assert terms("在Calc中打开ＡＢ") == ["在", "calc", "中", "打", "开", "中打", "打开", "ab"]


def test_bm25_scores_are_those_of_bm25s(texts):
    ours = BM25.fit(texts)
    theirs = bm25s.BM25(method="lucene", k1=1.5, b=0.75, dtype="float64")
    theirs.index([terms(text) for text in texts], show_progress=False)
    for query in ("save the file", "打开文件", "currency currency format", "nothing here"):
        known = [term for term in terms(query) if term in ours.vocabulary]
        expected = theirs.get_scores(known) if known else np.zeros(len(texts))
        np.testing.assert_allclose(ours.scores(query), expected, atol=1e-5)


def test_scores_are_those_of_scikit_learn_and_intervals_are_paired():
    random, n = np.random.default_rng(1), 30
    rankings = {name: [random.permutation(n).tolist() for _ in range(25)] for name in ("a", "b")}
    relevant = [set(random.choice(n, random.integers(1, 14), replace=False).tolist()) for _ in range(25)]
    report = RetrievalReport(rankings, relevant)
    for name, each in rankings.items():
        truth = np.array([[float(place in right) for place in range(n)] for right in relevant])
        scores = np.array([[-found.index(place) for place in range(n)] for found in each])
        assert report.score(name) == pytest.approx(ndcg_score(truth, scores, k=10))
        first = [
            min(found.index(place) for place in right) for found, right in zip(each, relevant, strict=True)
        ]
        assert report.score(name, "mrr@10") == pytest.approx(
            np.mean([1 / (at + 1) * (at < 10) for at in first])
        )
        assert report.score(name, "recall@100") == 1
    gain, low, high = report.gain("a", "b")
    assert gain == pytest.approx(report.score("a") - report.score("b")) and low < gain < high
    assert report.gain("a", "a") == (0, 0, 0) and len(report.table()) == 2 and "25" in repr(report)
    short = RetrievalReport({"a": [[3, 1]]}, [{1, 2}])
    assert short.score("a") == pytest.approx((1 / np.log2(3)) / (1 + 1 / np.log2(3)))
    assert short.score("a", "recall@100") == 0.5


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(DataError, match="query 1 has no relevant passage"):
        RetrievalReport({"a": [[1], [2]]}, [{1}, set()])
    with pytest.raises(DataError, match="as many rankings as queries"):
        RetrievalReport({"a": [[1]]}, [{1}, {2}])
    with pytest.raises(DataError, match="no scores of 'c' by"):
        RetrievalReport({"a": [[1]]}, [{1}]).score("c")


def test_methods_rank_as_counted_one_by_one(index, texts):
    query = "save file 货币"
    vector = lk.EmbeddingPipeline(ENCODER).embed([query])[0]
    cosines = lk.EmbeddingPipeline(ENCODER).embed(texts) @ vector
    scores = BM25.fit(texts).scores(query)
    by_meaning = sorted(range(60), key=lambda place: (-cosines[place], place))
    by_words = sorted(np.flatnonzero(scores).tolist(), key=lambda place: (-scores[place], place))
    joined = {place: 0.0 for place in range(60)}
    for order in (by_meaning, by_words):
        for rank, place in enumerate(order, 1):
            joined[place] += 1 / (60 + rank)
    both = sorted(joined, key=lambda place: (-joined[place], place))
    for method, order in (("embeddings", by_meaning), ("bm25", by_words), ("hybrid", both)):
        found = index.search(query, 7, method)
        assert [hit.place for hit in found] == order[:7] and [hit.rank for hit in found] == list(range(1, 8))
        assert found[0].passage.text == texts[order[0]] and found[0].passage.source == f"{order[0] // 6}.txt"
    assert index.evidence(query) == pytest.approx(cosines.max(), abs=1e-5)
    turned = index.search(query, 5, rerank=lambda asked, given: -np.arange(len(given), dtype=float)[::-1])
    assert [hit.place for hit in turned] == both[:50][::-1][:5]
    report = index.evaluate([query], [[both[1]]], rerank=lambda asked, given: np.arange(len(given)) == 1)
    assert report.score("hybrid", "mrr@10") == 0.5 and report.score("reranked") == 1


def test_a_saved_index_answers_the_same_from_the_disk(index, tmp_path):
    index.calibrate(["save the file"], ["zzz qqq"])
    place = index.save(tmp_path / "kept")
    again = lk.SearchIndex.load(place)
    assert isinstance(again.vectors, np.memmap) and again.threshold == index.threshold and len(again) == 60
    for method in ("hybrid", "embeddings", "bm25"):
        assert list(again.search("打开 file", method=method)) == list(
            index.search("打开 file", method=method)
        )
    half = lk.SearchIndex.from_rows(["open the file", "print a chart"], ENCODER)
    assert half.vectors.dtype == np.float16 and half.search("file", 1, "bm25")[0].place == 0
    with pytest.raises(ConfigError, match="is not empty; give a new folder"):
        index.save(place)
    other = lk.SearchIndex.load(place)
    other.vectors = other.vectors[:, :3]  # as of another encoder
    with pytest.raises(DataError, match=r"the index has vectors of 3, the encoder .* make the index again"):
        other.search("file")
    content = bytearray((place / "vectors.npy").read_bytes())
    content[-1] ^= 1
    (place / "vectors.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"the search index is damaged: vectors\.npy has a different SHA-256"):
        lk.SearchIndex.load(place)
    with pytest.raises(DataError, match="contains no search index"):
        lk.SearchIndex.load(tmp_path)


def test_the_threshold_separates_questions_best(index):
    yes = ["save the file", "print page", "打开文件", "zzz"]
    no = ["qqq", "xxx yyy", "currency"]
    found = index.calibrate(yes, no)
    mine, theirs = (np.array([index.evidence(query) for query in each]) for each in (yes, no))
    best = max((mine >= t).mean() + (theirs < t).mean() for t in [*mine, *theirs, 2])
    assert found["answered"] + found["declined"] == pytest.approx(best)
    assert found["answered"] == pytest.approx((mine >= found["threshold"]).mean())


class Writer:
    """A chat model whose answer is known."""

    said = "Choose the currency format, of course."

    def chat(self, prompt: str, **settings: Any) -> str:
        self.prompt = prompt
        return self.said


def test_an_answer_cites_the_passage_or_declines():
    rows = [
        {"text": "Print a chart.", "file": "a.txt"},
        {"text": "Choose the currency format in the dialog.", "file": "b.txt"},
    ]
    index, writer = lk.SearchIndex.from_rows(rows, "", source="file"), Writer()
    found = index.answer("How do I choose a currency format?", writer)
    assert (
        found.source == "b.txt"
        and found.text == "Choose the currency format, of course."
        and found.cited == 1
    )
    assert rows[1]["text"] in writer.prompt and found.support == pytest.approx(
        3 / 4
    )  # choose, currency, format; course
    assert str(found).endswith("[1]") and "b.txt" in repr(found) and found.threshold is None
    weak = index.answer("currency of chickens", writer, threshold=found.evidence + 5)
    assert (weak.text, weak.cited, weak.source) == ("", 0, "") and str(weak) == "This is not in these texts."
    writer.said = "It was won by Brazil."
    assert str(index.answer("Who won the currency format?", writer)) == "This is not in these texts."
    reader = lk.QuestionAnsweringPipeline(KEPT / "bert-qa-bpe")
    cut = index.answer("currency format?", reader)
    assert cut.text in "".join(row["text"] for row in rows) and (cut.cited > 0) == bool(cut.text)


def test_a_cross_encoder_scores_pairs(index):
    predictor = lk.Predictor(KEPT / "xlm-roberta-regress-cls-bpe-pairs")
    rank = cross_encoder(predictor)
    found = index.search("save the file", 60, rerank=rank)
    scores = predictor.probabilities(["save the file"] * len(found), [hit.passage.text for hit in found])[
        :, 0
    ]
    np.testing.assert_allclose([hit.score for hit in found], scores, atol=1e-5)
    assert np.all(np.diff(scores) <= 1e-6)
    with pytest.raises(ConfigError, match=r"the model has no class 'relevant'; it has .* Give relevant="):
        cross_encoder(lk.Predictor(KEPT / "bert-classify-cls-loaded-pairs"))
    queries, relevant = ["save file", "打开"], [{1, 2, 3}, {45}]
    rows = pairs(index, queries, relevant, positives=2)
    place = {each.text: n for n, each in enumerate(index.passages)}
    for query, right in zip(queries, relevant, strict=True):
        candidates = set(index.rank(query, 50)[0].tolist())
        kinds = {
            kind: [place[row["text_pair"]] for row in rows if row["text"] == query and row["label"] == kind]
            for kind in ("relevant", "other")
        }
        assert set(kinds["relevant"]) <= right and len(kinds["other"]) == 4
        assert len(kinds["relevant"]) == min(2, max(1, len(right & candidates)))
        assert set(kinds["other"]) <= candidates - right


def pdf(path: Path, pages: list[str]) -> Path:
    """A PDF with a line of text on every page, written by hand."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    parts = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for n, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET" if text else ""
        parts += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents {5 + 2 * n} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
    content, places = "%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(content))
        content += f"{number} 0 obj\n{part}\nendobj\n"
    table = "".join(f"{at:010d} 00000 n \n" for at in places)
    content += f"xref\n0 {len(parts) + 1}\n0000000000 65535 f \n{table}"
    content += (
        f"trailer\n<< /Size {len(parts) + 1} /Root 1 0 R >>\nstartxref\n{content.index('xref')}\n%%EOF\n"
    )
    path.write_bytes(content.encode("latin-1"))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "texts"
    (place / "inner").mkdir(parents=True)
    (place / "a.md").write_text(
        "Intro.\n\n# Currency #\nOpen the dialog.\n\nThen choose.\n## Dates\n```\n# no heading\n```\n",
        "utf-8",
    )
    (place / "inner/b.txt").write_bytes("货币格式。选择日期。".encode("gb18030") * 20)
    (place / "long.txt").write_text("One two three four. " * 10 + "\n\nlast", "utf-8")
    pdf(place / "c.pdf", ["Save the file", "Print a page"])
    (place / "c.docx").write_bytes(b"x")
    (place / "empty.txt").write_text(" \n", "utf-8")
    (place / ".hidden.txt").write_text("hidden", "utf-8")
    (place / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    writer = PdfWriter(clone_from=PdfReader(place / "c.pdf"))
    writer.encrypt("secret")
    writer.write(place / "locked.pdf")
    return place


def test_passages_of_a_folder_name_file_page_and_heading(folder):
    index = lk.SearchIndex.from_folder(folder, "", words=20)
    found = [(each.source, each.heading, each.page, each.text) for each in index.passages]
    assert found[:3] == [
        ("a.md", "", 0, "Intro."),
        ("a.md", "Currency", 0, "Open the dialog.\nThen choose."),
        ("a.md", "Dates", 0, "``` # no heading ```"),
    ]
    assert found[3:5] == [("c.pdf", "", 1, "Save the file"), ("c.pdf", "", 2, "Print a page")]
    inner = [each for each in found if each[0] == "inner/b.txt"]
    assert (
        "".join(each[3] for each in inner).replace("\n", "") == "货币格式。选择日期。" * 20
        and len(inner) == 5
    )
    long = [each[3] for each in found if each[0] == "long.txt"]
    assert [len(text.split()) for text in long] == [20, 20, 1] and "hidden" not in str(found)
    notes = dict(index.notes)
    assert set(notes) == {"c.docx", "empty.txt", "bad.pdf", "locked.pdf"}
    assert "encrypted" in notes["locked.pdf"] and notes["bad.pdf"]
    hit = index.search("print page")[0]
    assert hit.passage.place == "c.pdf · p. 2" and index.search("货币", 1)[0].passage.source == "inner/b.txt"


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda place: SearchIndex.from_folder(place / "none", ""), DataError, "is not a folder"),
        (
            lambda place: SearchIndex.from_folder(place, ""),
            DataError,
            r"contains no text in files of the types \.txt",
        ),
        (
            lambda place: SearchIndex.from_folder(place, "", words=3),
            DataError,
            "words = 3; a passage has 10 to 5000",
        ),
        (lambda place: SearchIndex.from_rows([], ""), DataError, "there is no text to search in"),
        (lambda place: SearchIndex.from_rows(["a", 3], ""), DataError, "the text of row 1 is 3"),
        (
            lambda place: SearchIndex.from_rows([{"t": "a"}], ""),
            DataError,
            "row 0 has no column 'text'. It has: t",
        ),
        (lambda place: SearchIndex.from_rows(["a"], "", dtype="int8"), ConfigError, "dtype = 'int8'"),
        (
            lambda place: SearchIndex.from_rows(["a"], "").search("a", method="b"),
            ConfigError,
            "unknown method 'b'",
        ),
        (
            lambda place: SearchIndex.from_rows(["a"], "").search("a", method="embeddings"),
            ConfigError,
            "no embeddings",
        ),
        (lambda place: SearchIndex.from_rows(["a"], "").search("?"), DataError, r"the query is '\?'"),
        (lambda place: SearchIndex.from_rows(["a"], "").search("a", 0), ConfigError, "top = 0"),
        (
            lambda place: SearchIndex.from_rows(["a"], "").calibrate(["a"], []),
            DataError,
            "give questions that",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused(make, error, said, tmp_path):
    with pytest.raises(error, match=said):
        make(tmp_path)


def test_the_commands_make_an_index_and_search_it(folder, tmp_path):
    run, place = CliRunner().invoke, str(tmp_path / "index")
    made = run(app, ["index", str(folder), "--out", place, "--encoder", ""])
    assert made.exit_code == 0 and "Search index:" in made.output and "c.docx" in made.output
    found = run(app, ["search", place, "print a page", "--json"])
    hits = json.loads(found.stdout)
    assert (
        hits[0]["passage"]["source"] == "c.pdf" and hits[0]["passage"]["page"] == 2 and hits[0]["rank"] == 1
    )
    assert "1. " in run(app, ["search", place, "货币"]).output
    declined = run(app, ["ask", place, "zebra?"])
    assert declined.exit_code == 0 and "This is not in these texts." in declined.output
    assert run(app, ["search", str(tmp_path), "x"]).exit_code == 2


def test_an_index_without_an_encoder_has_no_embeddings():
    texts = ["Choose Chart to plot your numbers.", "Press F5 to start the slide show."]
    for encoder in (None, ""):
        index = lk.SearchIndex.from_rows(texts, encoder=encoder)
        assert index.search("plot numbers")[0].passage.text == texts[0]
        with pytest.raises(ConfigError, match="no embeddings"):
            index.search("plot numbers", method="embeddings")
