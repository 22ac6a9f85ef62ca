"""Exact and near copies: found against a slow independent search, dropped by number, evaluation kept whole."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.core.errors import ConfigError, DataError
from labkit.data.prepare.dedupe import (
    conflicts,
    dedupe,
    exact_duplicates,
    near_duplicates,
    near_pairs,
    normalise,
)
from labkit.data.rows import Rows
from labkit.data.schema import Spec

ALPHABETS = {"en": "abcdefghijklmnopqrstuvwxyz      ", "zh": "".join(map(chr, range(0x4E00, 0x4E00 + 500)))}


def make(splits: dict[str, list[tuple]], classes=("neg", "pos")) -> Rows:
    """Rows from split → [(text, label)] or [(text, pair, label)], numbered from 0 through all splits."""
    made, start = {}, 0
    for name, lines in splits.items():
        numbers = range(start, start := start + len(lines))
        columns = {
            "text": [line[0] for line in lines],
            "label": [line[-1] for line in lines],
            "row": list(numbers),
        }
        if len(lines[0]) == 3:
            columns["text_pair"] = [line[1] for line in lines]
        made[name] = Dataset.from_dict(columns)
    pairs = "text_pair" in made[next(iter(made))].column_names
    return Rows(made, Spec(text=("t", "u") if pairs else ("t",), label="y", classes=classes))


def shingles(text: str) -> set[str]:
    return {text.ljust(3, "\0")[i : i + 3] for i in range(max(1, len(text) - 2))}


def jaccard(one: str, other: str) -> float:
    """The definition, in sets of strings."""
    first, second = shingles(one), shingles(other)
    return len(first & second) / len(first | second)


def random_texts(alphabet: str, n: int, copies: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    texts = ["".join(rng.choices(alphabet, k=rng.randint(20, 80))) for _ in range(n)]
    for text in rng.sample(texts, copies):
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(["#", ""]) + text[at + 1 :]
        texts.append(text)
    return list(dict.fromkeys(texts))


def test_exact_copies_are_equal_but_for_case_width_and_blanks():
    assert normalise("  Ｇood\u3000 DEAL\n") == normalise("good deal") == "good deal"
    assert normalise("Straße") == normalise("STRASSE")
    assert normalise("很好") != normalise("很 好")
    rows = make(
        {
            "train": [("Good deal", 1), ("bad", 0), ("ＧＯＯＤ  deal", 1)],
            "test": [("good deal ", 1), ("BAD", 1)],
        }
    )
    frame = exact_duplicates(rows)
    assert frame.values.tolist() == [
        [0, 3, "test", "pos", "good deal "],
        [0, 0, "train", "pos", "Good deal"],
        [0, 2, "train", "pos", "ＧＯＯＤ  deal"],
        [1, 4, "test", "pos", "BAD"],
        [1, 1, "train", "neg", "bad"],
    ]
    assert list(frame.columns) == ["group", "row", "split", "label", "text"]
    assert conflicts(rows)["row"].tolist() == [4, 1]
    assert len(exact_duplicates(make({"train": [("a", 0), ("b", 1)]}))) == 0


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(), max_size=30))
def test_the_normal_form_is_one(text):
    assert normalise(normalise(text)) == normalise(text) == normalise(f"\t{text}  ")


def test_pairs_are_copies_only_when_both_texts_are():
    rows = make({"train": [("a", "b", 0), ("a", "c", 0), ("A", "B ", 0), ("b", "a", 0)]})
    assert exact_duplicates(rows)["row"].tolist() == [0, 2]


def test_rows_without_texts_are_compared_by_value():
    columns = {"x": [[1.0, 2.0], [1.0, 2.5], [1.0, 2.0]], "label": [0, 0, 1], "row": [0, 1, 2]}
    rows = Rows({"train": Dataset.from_dict(columns)}, Spec(classes=("a", "b"), modality="features"))
    assert exact_duplicates(rows)["row"].tolist() == conflicts(rows)["row"].tolist() == [0, 2]
    with pytest.raises(DataError, match="near-duplicate detection needs texts"):
        near_duplicates(rows)


@pytest.mark.parametrize("language", ALPHABETS)
@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.9])
def test_near_pairs_are_those_of_a_full_search(language, threshold):
    texts = random_texts(ALPHABETS[language], 200, 150)
    sets = [shingles(text) for text in texts]
    expected = {
        (i, j): similarity
        for j, second in enumerate(sets)
        for i, first in enumerate(sets[:j])
        if (similarity := len(first & second) / len(first | second)) >= threshold
    }
    first, second, similarity = near_pairs(texts, threshold)
    found = dict(zip(zip(first.tolist(), second.tolist(), strict=True), similarity.tolist(), strict=True))
    assert len(expected) > 20
    assert found == pytest.approx(expected)


def test_ten_thousand_sentences_take_seconds():
    texts = random_texts(ALPHABETS["en"], 10_000, 300)
    start = time.monotonic()
    first, _, _ = near_pairs(texts, 0.7)
    assert time.monotonic() - start < 60  # about one second on a free core
    assert len(first) >= 250


def test_a_large_bucket_of_equal_signatures_is_searched():
    # More near copies of one template than rows are compared pair by pair.
    texts = [
        f"Call {n:06d} now to claim your free prize of one thousand pounds, terms apply" for n in range(400)
    ]
    rows = make({"train": [(text, 1) for text in texts]})
    groups = near_duplicates(rows, 0.6)
    assert len(groups) == 400 and groups["group"].nunique() < 20
    kept = dedupe(rows, near=True, threshold=0.6)
    assert len(kept) == groups["group"].nunique() and len(near_duplicates(kept, 0.6)) == 0


def test_every_row_of_a_group_is_like_its_first():
    texts = random_texts(ALPHABETS["en"], 150, 150, seed=1)
    rows = make({"train": [(text, 0) for text in texts], "test": [(texts[0].upper(), 1)]})
    groups = near_duplicates(rows, 0.6)
    assert groups["group"].nunique() > 20
    for _, group in groups.groupby("group"):
        lead = normalise(group["text"].iloc[0])
        for line in group.itertuples():
            assert (
                line.similarity == pytest.approx(jaccard(lead, normalise(line.text)))
                and line.similarity >= 0.6
            )
    own = groups[groups["group"] == groups["group"][groups["row"] == len(texts)].iloc[0]]
    assert own["split"].tolist()[0] == "test" and 0 in own["row"].tolist()


def test_chains_do_not_grow():
    text = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau"
    texts = [text[i : i + 66] for i in range(0, 40, 5)]  # each like the next, the first unlike the last
    assert jaccard(texts[0], texts[1]) > 0.7 > jaccard(texts[0], texts[4])
    rows = make({"train": [(text, 0) for text in texts]})
    kept = dedupe(rows, near=True, threshold=0.7)["train"]["text"][:]
    assert texts[0] in kept and len(kept) > 1
    assert all(max(jaccard(text, keep) for keep in kept) >= 0.7 for text in texts)


def test_dedupe_keeps_evaluation_whole_and_names_the_dropped():
    rows = make({
        "train": [("a b", 1), ("only here", 0), ("A  B", 1), ("Only here", 0)],
        "validation": [("a b", 1), ("mine", 0)],
        "test": [("MINE", 0), ("last", 1)],
    })  # fmt: skip
    kept = dedupe(rows)
    assert {name: split["row"][:] for name, split in kept.splits.items()} == {
        "train": [1],
        "validation": [4],
        "test": [6, 7],
    }
    notes = kept.report.of("refused")["duplicate"]
    assert [(note.row, note.split, note.detail) for note in notes] == [
        (0, "train", "kept: row 4 in validation"),
        (2, "train", "kept: row 4 in validation"),
        (3, "train", "kept: row 1 in train"),
        (5, "validation", "kept: row 6 in test"),
    ]
    assert len(exact_duplicates(kept)) == 0
    assert dedupe(rows, keep="last")["train"]["row"][:] == [3]


def test_labels_that_disagree_are_reported_or_dropped():
    lines = [("same", 0), ("Same", 1), ("SAME", 0), ("same ", -1), ("other", 1), ("other", -1)]
    first = dedupe(make({"train": lines}))
    assert first["train"]["row"][:] == [0, 4]
    assert first.report.counts()["refused"] == {"duplicate with another label": 1, "duplicate": 3}
    (note,) = first.report.of("refused")["duplicate with another label"]
    assert note.row == 1 and note.detail == "'pos' here, 'neg' there; kept: row 0 in train"
    dropped = dedupe(make({"train": lines}), conflicts="drop")
    assert dropped["train"]["row"][:] == [3, 4]
    assert [note.row for note in dropped.report.of("refused")["duplicates with different labels"]] == [
        0,
        1,
        2,
    ]


def test_a_labelled_copy_is_kept_before_an_unlabelled_one():
    assert dedupe(make({"train": [("a", -1), ("A", 1), ("b", 0)]}))["train"]["row"][:] == [1, 2]


def test_near_copies_are_dropped_for_the_first():
    text = "the quick brown fox jumps over the lazy dog and runs away"
    rows = make({"train": [(text, 0), (text + "!", 1), ("Something else entirely", 1), (text.title(), 0)]})
    kept = dedupe(rows, near=True)
    assert kept["train"]["row"][:] == [0, 2]
    assert kept.report.counts()["refused"] == {"near duplicate": 1, "duplicate": 1}
    assert (
        kept.report.of("refused")["near duplicate"][0].detail
        == f"similarity {jaccard(text, text + '!'):.2f}; kept: row 0 in train"
    )


def test_rows_offer_dedupe():
    assert len(make({"train": [("a", 0), ("A", 0), ("b", 1)]}).dedupe()) == 2


def test_bad_choices_say_so():
    rows = make({"train": [("a", 0), ("a", 1)]})
    with pytest.raises(ConfigError, match=r"keep = 'frist' is not one of first, last. Did you mean 'first'"):
        dedupe(rows, keep="frist")
    with pytest.raises(ConfigError, match="threshold = 80"):
        near_duplicates(rows, 80)
    with pytest.raises(DataError, match="no row of 'train' would remain"):
        dedupe(rows, conflicts="drop")


def test_the_result_is_the_same_every_time():
    texts = random_texts(ALPHABETS["en"], 200, 100)
    once, again = near_pairs(texts, 0.6), near_pairs(texts, 0.6)
    assert all(np.array_equal(x, y) for x, y in zip(once, again, strict=True))
