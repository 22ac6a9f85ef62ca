"""Records become series, and series become small."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from labkit.train.logger import Record
from labkit.viz.series import gather, packed, second, thin, ticks


def record(seq: int, step: int, split: str, name: str, value: float) -> Record:
    return Record(seq, step, split, name, value, 0.0)


def test_gather_keeps_what_is_drawn_and_the_last_value_of_a_step():
    records = [
        record(1, 1, "train", "loss", 0.7),
        record(2, 2, "train", "loss", 0.6),
        record(3, 2, "train", "learning_rate", 1e-5),
        record(4, 2, "validation", "f1", 0.5),
        record(5, 2, "train", "loss", 0.5),
    ]
    assert gather(records) == {"train/loss": ([1, 2], [0.7, 0.5]), "validation/f1": ([2], [0.5])}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(4, 60))
def test_thin_keeps_ends_extremes_and_order(values: list[float], most: int):
    steps = list(range(10, 10 + len(values)))
    x, y = thin(steps, values, most)
    assert len(x) == len(y) <= max(most, 4)
    assert x == sorted(set(x)) and all(values[step - 10] == value for step, value in zip(x, y, strict=True))
    assert (x[0], x[-1]) == (steps[0], steps[-1])
    assert (min(y), max(y)) == (min(values), max(values))


def test_thin_survives_values_that_are_not_finite():
    values = [math.nan] * 50 + [1.0, math.inf] + [math.nan] * 50
    x, y = thin(list(range(102)), values, 8)
    assert 1.0 in y and len(x) <= 8


def test_packed_is_json_with_gaps():
    small = packed({"train/loss": ([1, 2, 3], [0.123456, math.nan, -math.inf])})
    assert json.loads(json.dumps(small, allow_nan=False)) == {"train/loss": [[1, 2, 3], [0.1235, None, None]]}


@given(st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_ticks_are_few_rise_and_cover(low: float, span: float):
    found = ticks(low, low + span)
    assert 2 <= len(found) <= 8
    assert found == sorted(set(found))
    slack = 1e-6 * max(span, abs(low), 1)
    assert found[0] <= low + slack and found[-1] >= low + span - slack


def test_ticks_are_round():
    assert ticks(0, 100) == [0, 50, 100] or ticks(0, 100) == [0, 25, 50, 75, 100]
    assert ticks(0.12, 0.69) == [0, 0.2, 0.4, 0.6, 0.8]


def test_accuracy_is_shown_where_there_is_no_f1():
    def records(*names):
        return [Record(number, 5, split, name, 0.5, 0.0) for number, (split, name) in enumerate(names)]

    plain = gather(records(("train", "loss"), ("validation", "accuracy"), ("validation", "perplexity")))
    assert set(plain) == {"train/loss", "validation/accuracy"} and second(plain) == "accuracy"
    classes = gather(records(("train", "accuracy"), ("validation", "f1")))
    assert set(classes) == {"validation/f1"} and second(classes) == "f1" and second({}) == "f1"
