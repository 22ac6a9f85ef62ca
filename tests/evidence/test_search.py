"""Search in the help of LibreOffice: titles of pages as queries, their paragraphs as what is relevant.

Queries and passages of English pages; English titles on Chinese pages; questions that the texts do not answer.
"""

from __future__ import annotations

import time
from collections import defaultdict

import numpy as np
import pytest

import labkit as lk
from labkit.retrieval.rerank import cross_encoder, pairs

PROGRAMS = ("Calc", "Math", "Impress", "Draw")


def pages_of(language: str, programs: tuple[str, ...]):
    """Paragraphs of at least four words (eight Chinese characters), each text once; and title → their places."""
    loaded = lk.load("libreoffice-help", passages=language)
    rows, names = loaded["train"], loaded.schema.classes
    least = 8 if language == "zh" else 4
    passages, places, seen = [], defaultdict(list), set()
    for row in rows:
        long = len(row["text"]) if language == "zh" else len(row["text"].split())
        if names[row["label"]] in programs and long >= least and row["text"] not in seen:
            seen.add(row["text"])
            places[row["page"]].append(len(passages))
            passages.append({"text": row["text"], "page": row["page"]})
    return passages, places


def titles_of(pages, language: str = "en") -> dict[str, str]:
    """Page → its title, of titles that only one page has."""
    rows = lk.load("libreoffice-help", passages=language)["train"]
    title = dict(zip(rows["page"], rows["title"], strict=True))
    times = defaultdict(int)
    for page in title:
        times[title[page]] += 1
    return {page: title[page] for page in pages if title.get(page) and times[title[page]] == 1}


@pytest.fixture(scope="module")
def english(full):
    """The index, and (queries, relevant places) for validation and test."""
    passages, places = pages_of(
        "en", PROGRAMS + (("Writer", "LibreOffice", "Basic", "Chart", "Base") if full else ())
    )
    titles = titles_of(places)
    chosen = np.random.default_rng(0).permutation(sorted(titles))
    begin = time.time()
    index = lk.SearchIndex.from_rows(passages, source="page")
    asked = [(titles[page], places[page]) for page in chosen]
    return index, asked[: len(asked) // 2], asked[len(asked) // 2 :], time.time() - begin


def test_hybrid_search_is_better_than_bm25(english, tell):
    index, _, test, seconds = english
    report = index.evaluate(*map(list, zip(*test, strict=True)))
    tell(f"{index}; encoded in {seconds / 60:.1f} min; {len(test)} titles as queries")
    tell(report)
    for method in ("hybrid", "embeddings"):
        for metric in ("ndcg@10", "recall@100"):
            tell(f"{metric}, {method} less BM25: {report.gain(method, 'bm25', metric)}")
    assert report.gain("hybrid", "bm25")[0] > 0


def test_a_cross_encoder_orders_the_candidates(english, lab, tell):
    index, validation, test, _ = english
    rows = lk.load(
        pairs(index, *map(list, zip(*validation, strict=True))), text=("text", "text_pair"), label="label"
    )
    rows = rows.split(group="group", test=0, accept_leakage=True)
    run = lk.fit(rows, lk.models["bert"](preset="minilm-l6"), folder=lab, background=False, epochs=3, max_length=96,
                 seed=0, accept_leakage=True)  # fmt: skip
    some = test[:150]
    report = index.evaluate(*map(list, zip(*some, strict=True)), rerank=cross_encoder(run.predictor))
    tell(report)
    tell(f"NDCG@10 reranked less hybrid: {report.gain('reranked', 'hybrid')}")


def test_weak_evidence_is_declined(english, tell):
    """Titles of pages about another program are questions that these texts do not answer."""
    index, validation, test, _ = english
    other = list(titles_of(pages_of("en", ("Basic", "Writer", "Base"))[1]).values())
    other = [title for title in np.random.default_rng(1).permutation(other) if title not in dict(test)]
    half = min(len(other) // 2, 200)
    found = index.calibrate([query for query, _ in validation[:200]], other[:half])
    yes = np.mean([index.evidence(query) >= index.threshold for query, _ in test[:200]])
    no = np.mean([index.evidence(query) < index.threshold for query in other[half : 2 * half]])
    tell(f"validation {found}; test: answered {yes:.3f}, declined {no:.3f}")
    assert yes + no > 1


def test_english_queries_find_chinese_pages(tell, full):
    passages, places = pages_of("zh", ("Math", "Draw", "Chart") if not full else PROGRAMS)
    titles = titles_of(places)  # the English ones of the same pages
    index = lk.SearchIndex.from_rows(passages, "e5-small", source="page")
    queries = sorted(titles)[:300]
    report = index.evaluate([titles[page] for page in queries], [places[page] for page in queries])
    tell(index, report)
    assert report.gain("embeddings", "bm25")[0] > 0
