"""Arrays out of memory: the same results as NumPy and datasets give, in files or not, whatever the portions."""

from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

import labkit as lk
from labkit.core.errors import DataError
from labkit.data import memmap
from labkit.data.arrow import numbers
from labkit.data.batching.base import mixed
from labkit.data.batching.buckets import BucketBatches
from labkit.data.batching.packing import PackedBatches, choose, plan_rows
from labkit.data.prepare.dedupe import dedupe, digests, exact_duplicates, normalise
from labkit.data.rows import Rows
from labkit.data.schema import Spec
from labkit.data.text.tokens import Tokens


@pytest.fixture
def tiny(monkeypatch, tmp_path) -> None:
    """Portions of a few entries, and every array in a file."""
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(memmap, "_SMALL", 0)
    monkeypatch.setattr(memmap, "PORTION", 7)


def in_file(values: np.ndarray) -> bool:
    while values is not None and not isinstance(values, np.memmap):
        values = values.base
    return values is not None


def test_large_arrays_are_files_without_a_name_and_small_ones_are_not(tiny, tmp_path, monkeypatch):
    made = memmap.array(10, np.int32)
    made[:] = range(10)
    assert in_file(made) and type(made) is np.ndarray and made.sum() == 45
    assert not list((tmp_path / "cache" / "work").iterdir()), "nothing to clean up, even after a crash"
    assert len(memmap.array(0, np.int8)) == 0
    monkeypatch.setattr(memmap, "_SMALL", 40)
    assert not in_file(memmap.array(10, np.int32)) and in_file(memmap.array(11, np.int32))


def test_where_no_file_can_be_written_memory_takes_its_place(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "file"))
    assert not in_file(memmap.array(10, np.int32))


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 3), max_size=60), portion=st.integers(1, 70)
)
def test_orders_are_numpys(values, portion):
    drawn = np.array(values, np.uint64)
    small = (drawn % np.uint64(5)).astype(np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memmap, "PORTION", portion)
        assert np.array_equal(memmap.order(drawn), np.argsort(drawn, kind="stable"))
        found, counts = memmap.by_kind(len(small), lambda part: small[part], 5)
        assert np.array_equal(found, np.argsort(small, kind="stable"))
        assert np.array_equal(counts, np.bincount(small, minlength=5))
        assert np.array_equal(
            memmap.where(len(small), lambda part: small[part] == 2), np.flatnonzero(small == 2)
        )
        assert np.array_equal(memmap.take(drawn, found), drawn[found])


def test_chosen_rows_are_those_of_select(tiny):
    dataset = Dataset.from_dict({"n": range(50), "text": [f"text {n}" for n in range(50)]})
    some, fewer = np.array([40, 3, 3, 17, 22]), np.array([4, 1, 0], np.int32)
    found = memmap.chosen(dataset, some)
    assert found[:] == dataset.select(some)[:] and numbers(found, "n").tolist() == some.tolist()
    again = memmap.chosen(found, fewer)
    assert again[:] == dataset.select(some[fewer])[:] and len(again) == 3
    assert len(memmap.chosen(found, np.empty(0, np.int64))) == 0
    assert found._fingerprint == memmap.chosen(dataset, some)._fingerprint != again._fingerprint
    assert type(memmap.chosen(dataset.with_format("numpy"), some)[0]["n"]) is np.int64
    more = memmap.with_column(dataset, "half", np.arange(50, dtype=np.int32))
    assert more["half"][:] == list(range(50)) and more.features["half"].dtype == "int32"


@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \t\x1c\n"), max_size=20)
    )
)
def test_digests_in_bulk_are_those_of_each_normal_form(texts):
    found = digests(Dataset.from_dict({"text": pa.array(texts, pa.string())}), "7 ", words=2)
    one_by_one = [hashlib.blake2b(f"7 {normalise(text)}".encode(), digest_size=16).digest() for text in texts]
    assert found.astype(">u8").tobytes() == b"".join(one_by_one)


def rows_of(n: int) -> Rows:
    rng = np.random.default_rng(0)
    texts = [
        f"Text  {number} Ü" if number % 5 else f"text {number}" for number in rng.integers(0, n, n).tolist()
    ]
    table = {
        "kind": [None if n % 9 == 0 else n for n in rng.integers(0, 60, n).tolist()],
        "text": texts,
        "label": rng.integers(-1, 3, n).astype(np.int32),
        "row": np.arange(n),
    }
    return Rows({"train": Dataset.from_dict(table)}, Spec(text=("t",), label="y", classes=("a", "b", "c")))


def everything(rows: Rows) -> list:
    """What splitting, looking for copies and laying batches make of rows."""
    made: list = []
    for settings_ in ({}, {"seed": 1, "stratify": False}, {"group": "kind"}):
        parts = rows.split(**settings_, accept_leakage=True)
        made += [
            {name: part["row"][:] for name, part in parts.splits.items()},
            parts.report.notes,
            repr(parts),
        ]
    kept = dedupe(parts)
    made += [kept.fingerprint, kept.report.notes, exact_duplicates(rows).values.tolist()]
    lengths = np.random.default_rng(1).integers(1, 30, len(rows))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = Tokens(
        np.arange(offsets[-1], dtype=np.int32), np.zeros(offsets[-1], np.uint8), offsets,
        numbers(rows["train"], "label"), numbers(rows["train"], "row"), pad_id=0,
    )  # fmt: skip
    layout = choose(lengths, 32, 8, packing="always")
    for shuffle in (True, False):
        for maker in (
            BucketBatches(tokens, 8, (8, 16, 32), 3, shuffle),
            PackedBatches(tokens, 8, layout, 3, shuffle),
        ):
            steps = range(2 * len(maker))
            made += [{name: x.tolist() for name, x in maker.at(step).items()} for step in steps]
            made += [maker.padding_share, maker.shapes, str(layout)]
    return made


def test_portions_and_files_change_no_result(monkeypatch, tmp_path):
    rows = rows_of(300)
    whole = everything(rows)
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(memmap, "_SMALL", 64)
    for portion in (11, 64):
        monkeypatch.setattr(memmap, "PORTION", portion)
        assert everything(rows) == whole


def test_a_mixed_order_is_that_of_raw_bits(tiny):
    bits = (np.random.Philox(np.random.SeedSequence([3, 1])) for _ in range(2))
    assert np.array_equal(mixed(next(bits), 100), np.argsort(next(bits).random_raw(100), kind="stable"))


def test_seats_are_those_of_the_definition(tiny):
    lengths = np.random.default_rng(0).integers(1, 20, 90)
    plan, order = plan_rows(lengths, 40, 5), np.random.default_rng(1).permutation(90)
    places = np.repeat(plan.patterns, plan.counts, axis=0)
    expected = np.full(places.shape, -1)
    taken = np.flatnonzero(places)
    expected.flat[taken[np.argsort(places.flat[taken], kind="stable")]] = order[
        np.argsort(lengths[order], kind="stable")
    ]
    assert np.array_equal(plan.seat(lengths, order), expected)


@pytest.mark.parametrize("packed", [True, False])
def test_an_epoch_costs_portions_not_a_number_for_every_row(monkeypatch, tmp_path, packed):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(memmap, "_SMALL", 1 << 16)
    monkeypatch.setattr(memmap, "PORTION", 1 << 12)
    count = 200_000
    offsets = np.arange(0, 10 * count + 1, 10)
    tokens = Tokens(
        np.zeros(10 * count, np.int32), np.zeros(10 * count, np.uint8), offsets, np.zeros(count, np.int32),
        np.arange(count), pad_id=0,
    )  # fmt: skip
    tracemalloc.start()
    try:
        layout = choose(tokens.lengths, 16, 32, packing="always" if packed else "never")
        maker = PackedBatches(tokens, 32, layout) if packed else BucketBatches(tokens, 32, layout.widths)
        maker.at(0)
        maker.at(len(maker))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * count, f"{peak} bytes: as much as an i64 for every row"


def test_a_tokenizer_learns_the_same_from_any_source():
    texts = [f"naïve film {number % 30} 电影" for number in range(5000)]
    learnt = lk.Tokenizer.train(texts, vocab_size=120).fingerprint
    sources = (
        iter(texts),
        pa.chunked_array([texts[:7], texts[7:]]),
        Dataset.from_dict({"text": texts, "n": texts}),
    )
    assert [lk.Tokenizer.train(source, vocab_size=120).fingerprint for source in sources] == [learnt] * 3
    with pytest.raises(DataError, match="text 2500 is None"):
        lk.Tokenizer.train(Dataset.from_dict({"text": [*texts[:2500], None]}))
    with pytest.raises(DataError, match="a list of texts"):
        lk.Tokenizer.train("one")
