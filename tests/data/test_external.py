"""Splits by site and by time: what goes where, by a loop over plain Python rows; refusals."""

from __future__ import annotations

import datetime

import pandas as pd
import pytest

import labkit as lk
from labkit.core.errors import ConfigError, DataError
from labkit.data.recipe import check_steps

SITES = ["Bonn", "Rome", "Oslo", None, "Rome", "Oslo", "Bonn", "Bonn"] * 5
DAYS = [(place * 7) % 20 for place in range(40)]  # each day twice, in no order


def rows(**columns):
    frame = {"age": [float(place) for place in range(40)], "label": ["a", "b"] * 20, **columns}
    return lk.load(frame, features=("age",), label="label", groups=tuple(columns))


def members(found, split):
    return sorted(found[split]["row"])


def test_named_sites_are_test_and_the_others_are_split():
    found = rows(town=SITES).split(site="town", test_sites=["Oslo"], validation=0.2)
    assert members(found, "test") == [n for n, town in enumerate(SITES) if town == "Oslo"]
    assert len(found["validation"]) == 6 and len(found["train"]) == 24  # of the 30 rows that remain
    assert {note.detail for note in found.report.of("counted")["split by site"]} == {"test: Oslo"}
    (note,) = found.report.of("counted")["no site, left in train"]
    assert note.detail == "5 rows"


def test_sites_of_both_splits_leave_nothing_to_chance():
    found = rows(town=SITES).split(site="town", test_sites=["Oslo"], validation_sites=["Rome"])
    for split, town in (("test", "Oslo"), ("validation", "Rome")):
        assert members(found, split) == [n for n, each in enumerate(SITES) if each == town]
    assert members(found, "train") == [n for n, each in enumerate(SITES) if each in ("Bonn", None)]


def test_sites_may_be_numbers_and_features():
    numbers = [n % 4 for n in range(40)]
    found = rows(site=numbers).split(site="site", test_sites=[3])
    assert members(found, "test") == [n for n in range(40) if n % 4 == 3]
    data = {"age": range(40), "town": [town or "Bonn" for town in SITES], "label": ["a", "b"] * 20}
    found = lk.load(data, features=True, label="label").split(site="town", test_sites=["Rome"])
    assert members(found, "test") == [n for n, town in enumerate(SITES) if town == "Rome"]


DATES = [(datetime.date(2020, 1, 1) + datetime.timedelta(days=day * 40)).isoformat() for day in DAYS]


@pytest.mark.parametrize(
    ("times", "starts"),
    [
        ([float(day) for day in DAYS], {"test_from": 16, "validation_from": 12}),
        (DATES, {"test_from": DATES[DAYS.index(16)], "validation_from": DATES[DAYS.index(12)]}),
        (
            pd.to_datetime(DATES),
            {"test_from": DATES[DAYS.index(16)], "validation_from": DATES[DAYS.index(12)]},
        ),
        (DATES, {"validation": 8, "test": 8}),
        (DATES, {"validation": 0.2, "test": 0.2}),
        # sizes that would cut a day in two are made larger
        (DATES, {"validation": 7, "test": 7}),
    ],
    ids=["numbers", "dates", "timestamps", "rows", "fractions", "ties"],
)
def test_train_is_before_validation_and_validation_before_test(times, starts):
    found = rows(day=times).split(time="day", **starts)
    for split, days in (("train", range(12)), ("validation", range(12, 16)), ("test", range(16, 20))):
        assert members(found, split) == [n for n, day in enumerate(DAYS) if day in days], split
    assert len(found.report.of("counted")["split in time"]) == 1


def test_a_feature_may_be_the_time():
    data = {"day": DAYS, "label": ["a", "b"] * 20}
    found = lk.load(data, features=True, label="label").split(time="day", test_from=16, validation_from=12)
    assert members(found, "test") == [n for n, day in enumerate(DAYS) if day >= 16]


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"site": "town"}, ConfigError, ["test_sites"]),
        ({"test_sites": ["Rome"]}, ConfigError, ["site=…"]),
        ({"test_from": 3}, ConfigError, ["time=…"]),
        ({"site": "town", "test_sites": ["Roma"]}, DataError, ["'Roma'", "Did you mean", "Rome", "Bonn"]),
        ({"site": "city", "test_sites": ["Rome"]}, DataError, ["'city'", "groups="]),
        ({"site": "town", "test_sites": ["Rome", "Oslo", "Bonn"]}, DataError, ["no site is left"]),
        (
            {"site": "town", "test_sites": ["Rome"], "validation_sites": ["Rome"]},
            ConfigError,
            ["'Rome'", "twice"],
        ),
        ({"time": "day", "group": "town"}, ConfigError, ["group", "time"]),
        ({"time": "day", "in_order": True}, ConfigError, ["time", "in_order"]),
        ({"time": "town"}, DataError, ["'town'", "neither numbers nor dates"]),
        ({"time": "gap"}, DataError, ["1 rows", "'gap'", "first of them 3"]),
        ({"time": "day", "test_from": "soon"}, ConfigError, ["'soon'", "'day'"]),
        ({"time": "day", "test_from": 99}, DataError, ["99 or later", "test is empty"]),
        ({"time": "day", "test_from": -1}, DataError, ["before -1", "train is empty"]),
    ],
)
def test_what_cannot_be_split_so_is_refused(settings, error, words):
    gap = [None if n == 3 else float(n) for n in range(40)]
    with pytest.raises(error) as raised:
        rows(town=SITES, day=[float(day) for day in DAYS], gap=gap).split(**settings)
    assert all(word in str(raised.value) for word in words), raised.value


def test_a_recipe_splits_the_same_way():
    found = rows(town=SITES).split(site="town", test_sites=["Oslo"])
    (step,) = found.source["steps"]
    assert step == {"do": "split", "site": "town", "test_sites": ["Oslo"]}
    check_steps([step])


def test_indicators_say_where_a_value_is_missing():
    data = {
        "age": [1.0, None, 3.0, 4.0] * 5,
        "sex": [True, False, None, True] * 5,
        "whole": range(20),
        "town": ["Bonn", None, "Rome", "Rome"] * 5,
        "label": ["a", "b"] * 10,
    }
    plain = lk.load(data, features=True, label="label")
    found = lk.load(data, features=True, label="label", indicators=True)
    new = [name for name in found["train"].column_names if name not in plain["train"].column_names]
    assert new == ["age missing", "sex missing"]
    assert found["train"]["age missing"] == [0.0, 1.0, 0.0, 0.0] * 5
    assert found["train"]["sex missing"] == [0.0, 0.0, 1.0, 0.0] * 5
    assert len(found.report.of("counted")["indicator of missing values added"]) == 2
    with pytest.raises(ConfigError, match="indicators=True needs features"):
        lk.load({"text": ["a b", "c d"], "label": ["x", "y"]}, indicators=True)


def test_a_table_with_a_column_of_the_indicators_name():
    data = {"age": [1.0, None] * 8, "age missing": range(16), "label": ["a", "b"] * 8}
    found = lk.load(data, features=("age", "age missing"), label="label", indicators=True)["train"]
    assert found["age missing"] == list(range(16)) and found["source_age missing"] == [0.0, 1.0] * 8
