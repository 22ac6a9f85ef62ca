"""Splits: sizes, strata, groups, seeds; and the leakage check against planted copies."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import example, given, settings
from hypothesis import strategies as st

import labkit as lk
from labkit.core.config import dumps, loads
from labkit.core.errors import ConfigError, DataError
from labkit.data.prepare.split import Leakage, check_leakage, leakage, split
from labkit.data.rows import Rows
from labkit.data.schema import Spec

CLASSES = ("a", "b", "c", "d")


def rows_of(texts: list[str], labels: list[int], classes=CLASSES, **columns: list) -> Rows:
    numbers = columns.pop("row", list(range(len(texts))))
    train = Dataset.from_dict({"text": texts, "label": labels, "row": numbers, **columns})
    return Rows({"train": train}, Spec(text=("t",), label="y", classes=classes))


def numbered(labels: list[int], **columns: list) -> Rows:
    return rows_of([f"text number {i}" for i in range(len(labels))], labels, **columns)


def sizes(rows: Rows) -> dict[str, int]:
    return {name: len(part) for name, part in rows.splits.items()}


def where(rows: Rows, key: str = "row") -> dict:
    return {value: name for name, part in rows.splits.items() for value in part[key]}


def test_sizes_and_strata_are_exact():
    rows = split(numbered([0] * 700 + [1] * 200 + [2] * 100))
    assert sizes(rows) == {"train": 800, "validation": 100, "test": 100}
    assert {name: Counter(part["label"]) for name, part in rows.splits.items()} == {
        "train": {0: 560, 1: 160, 2: 80},
        "validation": {0: 70, 1: 20, 2: 10},
        "test": {0: 70, 1: 20, 2: 10},
    }
    assert sorted(number for part in rows.splits.values() for number in part["row"]) == list(range(1000))
    assert all(part["row"][:] == sorted(part["row"]) for part in rows.splits.values())
    (note,) = rows.report.of("counted")["split"]
    assert note.detail == "train 800, validation 100, test 100 rows; stratified, seed 0"


def test_counts_and_zero_are_sizes_too():
    labels = [0, 1] * 100
    assert sizes(split(numbered(labels), validation=17, test=0.25)) == {
        "train": 133,
        "validation": 17,
        "test": 50,
    }
    assert sizes(split(numbered(labels), validation=0, test=30)) == {"train": 170, "test": 30}
    assert sizes(split(numbered(labels[:8]), validation=0.01, test=0.01)) == {
        "train": 6,
        "validation": 1,
        "test": 1,
    }


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=4).filter(lambda counts: sum(counts) >= 10),
    st.sampled_from([0.05, 0.1, 0.3]),
    st.sampled_from([0.05, 0.2, 0.4]),
    st.integers(0, 5),
)
@example(counts=[0, 0, 0, 10], validation=0.3, test=0.4, seed=0)
def test_shares_of_classes_are_kept(counts, validation, test, seed):
    rows = split(numbered(np.repeat(np.arange(len(counts)), counts).tolist()), validation, test, seed=seed)
    total = sum(counts)
    for name, share in {"validation": validation, "test": test}.items():
        assert len(rows[name]) == max(1, round(share * total))
        found = Counter(rows[name]["label"])
        room = len(rows[name]) >= len([count for count in counts if count])
        for label, count in enumerate(counts):
            assert abs(found[label] - count * len(rows[name]) / total) <= len(counts)
            assert found[label] >= (count >= 3 and room)
    assert set(rows["train"]["label"]) == {label for label, count in enumerate(counts) if count}


def test_a_rare_class_is_in_train_then_test_and_the_report_says_so():
    rows = split(numbered([0] * 50 + [1] * 3 + [2] * 2 + [3]))
    assert set(rows["train"]["label"]) == {0, 1, 2, 3}
    assert set(rows["test"]["label"]) == {0, 1, 2} and set(rows["validation"]["label"]) == {0, 1}
    notes = {(note.split, note.detail) for note in rows.report.of("counted")["class missing from a split"]}
    assert notes == {
        ("test", "'d' has 1 row"),
        ("validation", "'d' has 1 row"),
        ("validation", "'c' has 2 rows"),
    }


def test_the_seed_decides_and_the_order_of_the_table_does_not():
    texts, labels = [f"text number {i}" for i in range(300)], [i % 3 for i in range(300)]
    first = split(rows_of(texts, labels))
    assert split(rows_of(texts, labels)).fingerprint == first.fingerprint
    assert where(split(rows_of(texts, labels), seed=1)) != where(first)
    mixed = random.Random(0).sample(range(300), 300)
    shuffled = rows_of([texts[i] for i in mixed], [labels[i] for i in mixed])
    assert where(split(shuffled), "text") == where(first, "text")


def test_without_stratification_labels_play_no_part():
    texts = [f"text number {i}" for i in range(200)]
    one = split(rows_of(texts, [0] * 200), stratify=False)
    other = split(rows_of(texts, [i % 4 for i in range(200)]), stratify=False)
    assert where(one) == where(other) and sizes(one) == {"train": 160, "validation": 20, "test": 20}


def test_copies_go_the_same_way():
    texts = [f"Text {i // 2}" if i % 2 else f"text  {i // 2}" for i in range(400)]
    rows = split(rows_of(texts, [i // 2 % 2 for i in range(400)]))
    assert leakage(rows).share == 0 and sizes(rows) == {"train": 320, "validation": 40, "test": 40}
    # A text that makes up most of the table stays in train; the other class does not take its place.
    rows = split(
        rows_of(["ok"] * 300 + [f"text {i}" for i in range(100)], [0] * 300 + [1] * 100),
        test=20,
        validation=20,
    )
    assert sizes(rows)["test"] == 5 and "ok" not in rows["test"]["text"][:] + rows["validation"]["text"][:]


def test_no_group_is_on_two_sides():
    rng = random.Random(0)
    authors = [f"author {rng.randrange(60)}" for _ in range(1000)]
    rows = split(numbered([rng.randrange(3) for _ in authors], author=authors), group="author")
    found = {name: set(part["author"]) for name, part in rows.splits.items()}
    assert not found["train"] & found["test"] and not found["train"] & found["validation"]
    assert not found["validation"] & found["test"]
    for name in ("validation", "test"):
        assert 80 <= len(rows[name]) <= 120
        assert all(20 <= count <= 50 for count in Counter(rows[name]["label"]).values())
    assert where(split(numbered(rows_labels(rows), author=authors), group="author", seed=3)) != where(rows)


def rows_labels(rows: Rows) -> list[int]:
    pairs = [pair for part in rows.splits.values() for pair in zip(part["row"], part["label"], strict=True)]
    return [label for _, label in sorted(pairs)]


def test_rows_without_a_group_stand_alone():
    rows = split(numbered([0, 1] * 50, who=["x"] * 40 + [None] * 60), group="who")
    assert sizes(rows) == {"train": 80, "validation": 10, "test": 10}
    assert set(rows["test"]["who"]) == {None}  # the group of 40 fits into train only


def test_unlabelled_rows_stay_in_train():
    rows = split(numbered([0, 1] * 50 + [-1] * 100))
    assert sizes(rows) == {"train": 180, "validation": 10, "test": 10}
    assert -1 not in rows["test"]["label"][:] + rows["validation"]["label"][:]
    assert sizes(split(numbered([-1] * 100))) == {"train": 80, "validation": 10, "test": 10}


def test_splits_that_came_with_the_data_are_kept():
    rows = numbered([0, 1] * 50)
    given = rows.with_splits(
        {"test": rows["train"].select(range(30)), "train": rows["train"].select(range(30, 100))}
    )
    done = split(given)
    assert list(done.splits) == ["train", "validation", "test"]
    assert done["test"]["row"][:] == list(range(30)) and sizes(done) == {
        "train": 63,
        "validation": 7,
        "test": 30,
    }
    assert "test unchanged" in done.report.counts()["counted"]
    assert sizes(split(done)) == sizes(done)


def leaky(copies: int, n: int = 1000) -> Rows:
    """``copies`` of ``n`` test texts are in train too, dressed up."""
    rows = rows_of([f"text {i}" for i in range(2 * n)], [0, 1] * n)
    test = rows["train"].select(range(n, 2 * n))
    train = rows["train"].select(range(n)).to_list()
    rng = random.Random(0)
    for at, number in zip(rng.sample(range(n), copies), rng.sample(range(n, 2 * n), copies), strict=True):
        train[at]["text"] = f"  ＴＥＸＴ  {number}"
    return rows.with_splits({"train": Dataset.from_list(train), "test": test})


def test_every_planted_copy_is_found():
    rows = leaky(30)
    found = leakage(rows)
    (part,) = found.splits
    assert (part.split, part.rows, part.leaked) == ("test", 1000, 30) and found.share == 0.03
    assert len(part.examples) == 5
    for row, train in part.examples:
        assert rows["train"][train]["text"].split() == ["ＴＥＸＴ", str(row)]
    assert found.to_pandas().values.tolist() == [["test", 1000, 30, 0.03]]
    assert loads(Leakage, dumps(found)) == found
    assert leakage(rows.dedupe()).share == 0 and len(rows.dedupe()["test"]) == 1000


def test_leakage_above_one_percent_blocks_unless_accepted():
    with pytest.raises(DataError) as error:
        check_leakage(leaky(30))
    text = str(error.value)
    assert text.startswith("30 of 1,000 rows of test (3.0 %) are also in train (row = row in train: ")
    assert "`rows.dedupe()`" in text and "accept_leakage=True" in text
    assert check_leakage(leaky(30), accept=True).share == 0.03
    assert check_leakage(leaky(10)).share == 0.01  # not above
    with pytest.raises(DataError):
        check_leakage(leaky(11))
    with pytest.raises(DataError):
        check_leakage(leaky(2), limit=0.001)


def test_split_checks_its_own_result():
    with pytest.raises(DataError, match=r"test \(3\.0 %\)"):
        split(leaky(30), validation=0)
    accepted = split(leaky(30), validation=0, accept_leakage=True)
    assert accepted.report.of("counted")["rows of test in train"][0].detail.startswith("30 of 1,000")
    texts = [f"text {i // 2}" for i in range(200)]  # a group is a promise about groups, not about texts
    with pytest.raises(DataError, match="are also in train"):
        split(rows_of(texts, [0, 1] * 100, g=[str(i) for i in range(200)]), group="g")


def test_rows_offer_split():
    assert sizes(numbered([0, 1] * 20).split(validation=0, test=4)) == {"train": 36, "test": 4}


@pytest.mark.parametrize("size", [-0.1, 1.0, 1.5, True, "0.1", float("nan"), -3])
def test_bad_sizes_say_so(size):
    with pytest.raises(ConfigError, match=r"test = .* must be a fraction"):
        split(numbered([0, 1] * 20), test=size)


def test_what_cannot_be_split_says_why():
    rows = numbered([0, 1] * 20, author=["x"] * 20 + ["y"] * 20)
    with pytest.raises(ConfigError, match=r"test = 30 and validation = 0.5 needs 50 of the 40 rows"):
        split(rows, test=30, validation=0.5)
    with pytest.raises(DataError, match=r"no column 'auther' to group by. Did you mean 'author'"):
        split(rows, group="auther")
    with pytest.raises(DataError, match="'author' has 2 values"):
        split(rows, group="author")
    with pytest.raises(DataError, match="1 different texts"):
        split(rows_of(["same"] * 40, [0] * 40))
    with pytest.raises(DataError, match="only a split named 'train'"):
        split(Rows({"test": rows["train"]}, rows.schema))


def test_rows_without_texts_can_be_split():
    columns = {"x": [[float(i // 2), 1.0] for i in range(100)], "label": [0, 1] * 50, "row": list(range(100))}
    rows = Rows({"train": Dataset.from_dict(columns)}, Spec(classes=("a", "b"), modality="features"))
    assert (
        sizes(split(rows)) == {"train": 80, "validation": 10, "test": 10} and leakage(split(rows)).share == 0
    )


def test_running_text_is_cut_in_its_order():
    rows = lk.load([{"text": f"line {number}", "label": str(number % 2)} for number in range(40)])
    found = rows.split(validation=0.1, test=0.2, in_order=True)
    assert found["train"]["row"] == list(range(28))
    assert found["validation"]["row"] == [28, 29, 30, 31] and found["test"]["row"] == list(range(32, 40))
    assert rows.split(validation=2, test=0, in_order=True)["validation"]["row"] == [38, 39]
    with pytest.raises(ConfigError, match="needs 40 of the 40 rows"):
        rows.split(validation=20, test=20, in_order=True)
