"""Columns of tables: the same cell means the same wherever it is read, and nothing is used or left out in silence."""

from __future__ import annotations

import datetime
import decimal
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

import labkit as lk
from labkit.core.config import dumps, loads
from labkit.core.errors import ConfigError, DataError
from labkit.data.batching.arrays import stack
from labkit.data.cells import Column, date_in, number_in
from labkit.data.io.load import open_rows
from labkit.data.new_rows import features_of
from labkit.data.rows import Rows
from labkit.data.schema import Spec

COUNT = 60
NUMBERS = np.random.default_rng(0).normal(size=COUNT)


def table(**columns: Any) -> Rows:
    """Rows of the given columns, a number ``x`` and the target ``y``."""
    return lk.load(pd.DataFrame({**columns, "x": NUMBERS, "y": NUMBERS * 2}), features=True, number="y")


def written(place: Path, head: str, line: Any, **settings: Any) -> Rows:
    place.write_text("\n".join([head, *(line(number) for number in range(COUNT))]), "utf-8")
    return lk.load(place, **{"features": True, "number": "y", **settings})


def names(rows: Rows) -> list[str]:
    return [name for name in rows["train"].column_names if name not in ("label", "row", "target")]


def asked(rows: Rows, records: Any) -> list[list[float]]:
    """New records as the features of ``rows``."""
    found = stack(rows["train"], rows.spec).names
    return features_of(records, rows.spec.features, found).tolist()


def noted(rows: Rows, reason: str) -> list[tuple[str | None, str]]:
    return [(note.column, note.detail) for note in rows.report.notes if note.reason == reason]


# --- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "plain", "point", "comma"),
    [
        ("1.5", 1.5, 1.5, None), ("1,5", None, None, 1.5), ("1,234", None, 1234, 1.234), ("1.234", 1.234, 1.234, 1234),
        ("1.234,5", None, None, 1234.5), ("1,234.5", None, 1234.5, None), ("0,123", None, None, 0.123),
        ("1 234,5", None, None, 1234.5), ("1\u202f234", 1234, 1234, 1234), ("1'234.5", 1234.5, 1234.5, None),
        ("12 %", 12, 12, 12), ("-$5", -5, -5, -5), ("1.234,50 €", None, None, 1234.5), ("−5", -5, -5, -5),
        ("1e3", 1000, 1000, 1000), ("inf", None, None, None), ("1 2", None, None, None), ("--5", None, None, None),
        ("12,34,567", None, None, None), ("", None, None, None), ("%", None, None, None), ("1" * 400, None, None, None),
    ],
)  # fmt: skip
def test_written_numbers(text, plain, point, comma):
    for mark, value in (("", plain), (".", point), (",", comma)):
        found = number_in(text, mark)
        assert (None if found is None else found[0]) == value, mark


@pytest.mark.parametrize(
    "word", ["NA", "N/A", "n/a", "NaN", "null", "None", "?", "-", "--", "", "  ", "<NA>"]
)
def test_words_for_missing_are_missing_in_numbers_as_in_targets(tmp_path, word):
    rows = written(tmp_path / "few.csv", "age,x,y", lambda n: f"{word if n % 10 == 0 else n % 5},{n / 7},{n}")
    assert names(rows) == ["age", "x"] and len(noted(rows, "missing value")) == COUNT // 10
    assert np.isnan(rows["train"]["age"][0]) and rows["train"]["age"][1] == 1
    assert np.isnan(asked(rows, [{"age": word, "x": "1"}])[0][0])
    rows = written(
        tmp_path / "target.csv", "x,y", lambda n: f"{n / 7},{word if n % 10 == 0 else n}", missing="drop"
    )
    assert len(rows) == COUNT - COUNT // 10


def test_decimal_commas_are_read_where_they_are_in_no_doubt_and_else_asked_for(tmp_path):
    rows = written(tmp_path / "eu.csv", "preis;menge;y", lambda n: f"{n},5;1.{n:03d};{n},25")
    assert rows["train"]["preis"][3] == 3.5 and rows["train"]["menge"][3] == 1003  # the file writes commas
    assert rows["train"]["target"][3] == [3.25]
    assert noted(rows, "decimal commas converted")[0] == ("y", "'0,25'")
    assert asked(rows, [{"preis": "1.234,5", "menge": "7"}]) == [[1234.5, 7]]
    doubtful = "a;x;y", lambda n: f"1,{n + 100};{n / 7};{n}"
    rows = written(tmp_path / "doubt.csv", *doubtful)
    assert names(rows) == ["x"] and "decimal=','" in noted(rows, "column excluded")[0][1]
    assert written(tmp_path / "doubt.csv", *doubtful, decimal=",")["train"]["a"][1] == 1.101
    assert written(tmp_path / "doubt.csv", *doubtful, decimal=".")["train"]["a"][1] == 1101
    with pytest.raises(
        DataError, match=r"'a' contains numbers such as '1,1\d\d', in which the comma may be a decimal or"
    ):
        written(tmp_path / "doubt.csv", *doubtful, number="a")
    with pytest.raises(ConfigError, match=r"decimal = ';' is not one of '\.', ','"):
        written(tmp_path / "doubt.csv", *doubtful, decimal=";")
    with pytest.raises(
        DataError, match=r"'x' contains '3,5' in row 0, which is not a number. It was trained on numbers wi"
    ):
        asked(rows, [{"x": "3,5"}])


def test_units_are_left_out_and_reported_unless_they_differ(tmp_path):
    rows = written(
        tmp_path / "units.csv", "a;b;c;x;y", lambda n: f"{n}%;${n}.50;{n}{'%' * (n % 2)};{n / 7};{n} €"
    )
    assert names(rows) == ["a", "b", "x"] and rows["train"]["a"][5] == 5 and rows["train"]["b"][5] == 5.5
    assert {column for column, _ in noted(rows, "units of numbers removed")} == {"a", "b", "y"}
    assert noted(rows, "column excluded") == [("c", "numbers with several units: %, none")]
    with pytest.raises(DataError, match=r"column 'c' have several units: %, none"):
        written(
            tmp_path / "units.csv", "a;b;c;x;y", lambda n: f"{n};{n};{n}{'%' * (n % 2)};{n};{n}", number="c"
        )
    with pytest.raises(
        DataError, match=r"'a' contains '5' in row 0, which is not a number. Its numbers are written with"
    ):
        asked(rows, [{"a": "5", "b": "1", "x": "1"}])


def test_infinite_values_are_refused_by_row_at_loading_and_at_prediction():
    bad = [np.inf, *NUMBERS[1:]]
    with pytest.raises(DataError, match=r"not a number \(1\): row 0 of train \(inf\)"):
        lk.load(pd.DataFrame({"x": bad, "y": NUMBERS}), features=True, number="y")
    with pytest.raises(DataError, match=r"not a number \(1\): row 0 of train \(inf\)"):
        lk.load(pd.DataFrame({"x": NUMBERS, "y": bad}), features=True, number="y")
    with pytest.raises(DataError, match="contains 'inf' in row 1"):
        asked(table(), [{"x": 1}, {"x": np.inf}])


# --- dates ----------------------------------------------------------------------------------------------------------

DAYS = pd.date_range("1969-12-01", periods=COUNT, freq="D")


@pytest.mark.parametrize(
    "text", ["2020-01-31", "2020/1/31", "31.01.2020", "2020年1月31日", "2020-01-31T00:00:00"]
)
def test_written_dates(text):
    assert date_in(text) == (datetime.datetime(2020, 1, 31, tzinfo=datetime.UTC).timestamp(), False)


def test_dates_with_a_time_zone_and_what_is_no_date():
    assert date_in("2020-01-31 10:00:00.5+01:00") == (1580461200.5, True)
    assert [date_in(text) for text in ("2020-02-30", "01/02/2020", "25:00", "1", "")] == [None] * 5


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "text", "date", "datetime", "date32"])
def test_dates_of_any_unit_are_the_same_days_and_missing_ones_are_missing(unit):
    rows = table(when=DAYS.astype("datetime64[ns]").where(np.arange(COUNT) != 3))
    expected = [float((day.date() - datetime.date(1970, 1, 1)).days) for day in DAYS]
    found = rows["train"]["when"][:]
    assert np.isnan(found[3]) and found[:3] + found[4:] == expected[:3] + expected[4:]
    assert noted(rows, "missing value") == [("when", "")] and noted(
        rows, "dates converted to days since 1970-01-01"
    )
    day = DAYS[40]
    new = {
        "text": lambda: [{"when": "1970-01-10", "x": 0}], "date": lambda: [{"when": day.date(), "x": 0}],
        "datetime": lambda: [{"when": day.to_pydatetime(), "x": 0}],
        "date32": lambda: pa.table({"when": pa.array([day.date()]), "x": [0]}),
    }.get(unit, lambda: pd.DataFrame({"when": DAYS[40:41].astype(f"datetime64[{unit}]"), "x": [0]}))()  # fmt: skip
    assert asked(rows, new) == [[expected[40], 0]]
    assert np.isnan(asked(rows, pd.DataFrame({"when": [pd.NaT], "x": [0]}))[0][0])


def test_dates_far_away_durations_and_clocks():
    rows = table(far=[datetime.date(9999, 12, 31), datetime.date(1, 1, 1)] * (COUNT // 2))
    assert rows["train"]["far"][:2] == [2932896, -719162]
    rows = table(
        wait=pd.to_timedelta(np.arange(COUNT) * 90, unit="s"),
        at=[datetime.time(n % 24, 30) for n in range(COUNT)],
    )
    assert rows["train"]["wait"][2] == 180 and rows["train"]["at"][2] == 2.5 * 3600
    assert asked(rows, [{"wait": "0 days 00:03:00", "at": "02:30", "x": 0}]) == [[180, 9000, 0]]
    with pytest.raises(DataError, match="'wait' contains '180' in row 0, which is not a duration"):
        asked(rows, [{"wait": 180, "at": "02:30", "x": 0}])


def test_dates_of_which_the_day_may_come_first_or_the_month_are_left_out_and_reported():
    rows = table(when=[f"{n % 12 + 1}/{n % 28 + 1}/2020" for n in range(COUNT)])
    assert names(rows) == ["x"] and noted(rows, "column excluded")[0][1].startswith(
        "dates like 1/2/2020, day or month"
    )


def test_time_zones_are_not_mixed():
    rows = table(when=DAYS.tz_localize("Europe/Berlin"))
    assert rows["train"]["when"][31] == -1 / 24  # midnight in Berlin is 23:00 before
    with pytest.raises(
        DataError, match=r"which is not a date\. The training rows have dates with a time zone"
    ):
        asked(rows, [{"when": "2020-01-31", "x": 0}])
    with pytest.raises(DataError, match=r"The training rows have dates without a time zone"):
        asked(table(when=DAYS), [{"when": "2020-01-31T00:00Z", "x": 0}])


def test_dates_as_targets_are_days_and_missing_ones_are_missing():
    rows = lk.load(
        pd.DataFrame({"x": NUMBERS[:3], "y": [*DAYS[30:32], pd.NaT]}),
        features=True,
        number="y",
        missing="drop",
    )
    assert rows["train"]["target"][:] == [[-1], [0]]


# --- categories and booleans ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["category", "parquet", "codes", "arrow", "ClassLabel", "bool"])
def test_what_is_typed_as_a_category_is_one(tmp_path, kind):
    codes = [3, 7, 9] * 20
    frame = pd.DataFrame({"region": pd.Categorical(codes), "x": NUMBERS, "y": NUMBERS})
    words, given = ["3", "7", "9"], 7
    if kind == "codes":
        frame["region"], words, given = [f"0{code}" for code in codes], ["03", "07", "09"], "07"
    if kind == "bool":
        frame["region"], words, given = pd.Categorical([True, False] * 30), ["False", "True"], True
    source: Any = frame
    if kind == "parquet":
        frame.to_parquet(source := tmp_path / "x.parquet")
    if kind == "arrow":
        source = pa.table({"region": pa.array(codes).dictionary_encode(), "x": NUMBERS, "y": NUMBERS})
    if kind == "ClassLabel":
        words, given = ["north", "south", "west"], 1
        kinds = Features(region=ClassLabel(names=words), x=Value("float64"), y=Value("float64"))
        source = Dataset.from_dict({"region": [0, 1, 2] * 20, "x": NUMBERS, "y": NUMBERS}, features=kinds)
    rows = lk.load(source, features=True, number="y")
    assert names(rows) == [*(f"region={word}" for word in words), "x"]
    place = [float(word == words[1]) for word in words]
    for value in (given, words[1], f" {words[1]} "):
        assert asked(rows, [{"region": value, "x": 0}]) == [[*place, 0]]
    assert asked(rows, [{"region": None, "x": 0}]) == [[*[0.0] * len(words), 0]]
    with pytest.raises(
        DataError, match=f"'region' contains 'moon' in row 0, which is not one of its categories: {words[0]}"
    ):
        asked(rows, [{"region": "moon", "x": 0}])


def test_class_names_of_each_split_are_read_by_name():
    def part(order: list[str]) -> Dataset:
        kinds = Features(c=ClassLabel(names=order), y=Value("float64"))
        return Dataset.from_dict(
            {"c": [order.index(word) for word in "abab"], "y": NUMBERS[:4]}, features=kinds
        )

    rows = lk.load(DatasetDict(train=part(["a", "b"]), test=part(["b", "a"])), features=True, number="y")
    assert rows["test"]["c=a"][:] == rows["train"]["c=a"][:] == [1, 0, 1, 0]


@pytest.mark.parametrize("source", ["frame", "csv"])
def test_booleans_however_they_are_written(tmp_path, source):
    frame = pd.DataFrame({"member": [True, False] * 30, "x": NUMBERS, "y": NUMBERS})
    frame.to_csv(tmp_path / "x.csv", index=False)
    rows = lk.load(frame if source == "frame" else tmp_path / "x.csv", features=True, number="y")
    assert names(rows) == ["member", "x"]
    for word in (True, "True", "true", " TRUE ", 1, "1", 1.0, "yes"):
        assert asked(rows, [{"member": word, "x": 0}]) == [[1, 0]], word
    assert asked(rows, [{"member": "False", "x": 0}, {"member": False, "x": 0}]) == [[0, 0]] * 2
    with pytest.raises(DataError, match=r"'member' contains 'nonsense' in row 0, which is not true or false"):
        asked(rows, [{"member": "nonsense", "x": 0}])


# --- names of columns -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "row",
        "target",
        "text",
        "text_pair",
        "size=cm",
        "a=b=c",
        "größe",
        "价格",
        "x.y",
        "a b",
        "'q'",
        '"q"',
        "0",
        "\\",
    ],
)
def test_any_name_of_a_column_is_its_name_at_prediction(name):
    rows = table(**{name: ["small", "large"] * 30, f"{name} 2": NUMBERS})
    again = loads(Spec, dumps(rows.spec))
    assert again == rows.spec and again.features[0].name == name
    assert asked(rows, [{name: "small", f"{name} 2": 5, "x": 7}]) == [[0, 1, 5, 7]]
    with pytest.raises(DataError, match="the new rows have no column"):
        asked(rows, [{"x": 7}])


def test_whole_numbers_as_names_and_names_up_to_white_space_and_unicode_form():
    frame = pd.DataFrame({0: NUMBERS, "gr\u00f6\u00dfe": NUMBERS, "y": NUMBERS})
    rows = lk.load(frame, features=True, number="y")
    assert asked(rows, pd.DataFrame({0: [1.0], " gro\u0308\u00dfe": [2.0]})) == [[1, 2]]
    assert asked(rows, [{"0": 1.0, "größe": "2"}]) == [[1, 2]]


def test_labkits_own_name_of_a_column_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("__row__,text\n1,a\n")
    for source in (
        [{"__row__": 1}],
        pd.DataFrame({"__row__": [1]}),
        pa.table({"__row__": [1]}),
        tmp_path / "x.csv",
    ):
        with pytest.raises(DataError, match="the column name '__row__' is reserved by labkit"):
            lk.load(source)


def test_features_with_one_name_are_kept_apart_and_reported():
    rows = table(**{"size=small": NUMBERS, "size": ["small", "large"] * 30})
    assert names(rows) == ["size=small", "size=large", "source_size=small", "x"]
    assert rows["train"]["size=small"][:] == pytest.approx(NUMBERS)
    assert noted(rows, "column renamed") == [("size=small", "now 'source_size=small'")]
    assert asked(rows, [{"size=small": 9, "size": "small", "x": 1}]) == [[9, 0, 1, 1]]


def test_look_alike_columns_and_categories_are_reported():
    rows = table(**{"Age": NUMBERS, "age": NUMBERS, "mood": ["gut", "Gut"] * 30})
    assert noted(rows, "columns with visually identical names") == [(None, "'Age', 'age'")]
    assert noted(rows, "visually identical categories") == [("mood", "'Gut', 'gut'")]


# --- identifiers ----------------------------------------------------------------------------------------------------


def test_identifiers_are_left_out_and_reported_unless_they_are_named(tmp_path):
    given = {
        "Id": range(COUNT), "Nr": range(1, COUNT + 1), "userId": [1, 2, 3] * 20, "index": range(COUNT),
        "user_id": [f"{n}" for n in range(COUNT)], "key": [str(uuid.UUID(int=n)) for n in range(COUNT)],
        "序号": range(COUNT), "paid": [1, 2] * 30, "no": [1, 2] * 30, "step": range(COUNT),
    }  # fmt: skip
    rows = table(**given)
    assert names(rows) == ["paid", "no", "step", "x"]
    assert [column for column, _ in noted(rows, "column excluded")] == [*list(given)[:5], "key", "序号"]
    assert noted(rows, "feature that is a row number")[0][0] == "step"
    named = lk.load(pd.DataFrame({**given, "y": NUMBERS}), features=("Id", "userId"), number="y")
    assert names(named) == ["Id", "userId"]
    with pytest.raises(DataError, match=r"no column is usable as a feature; the columns are Id \(identifier"):
        lk.load(pd.DataFrame({"Id": range(COUNT), "y": NUMBERS}), features=True, number="y")
    frame = pd.DataFrame({"x": NUMBERS, "y": NUMBERS})
    for saved in (frame, frame.sample(frac=1, random_state=0)):
        saved.to_csv(tmp_path / "index.csv")
        assert names(lk.load(tmp_path / "index.csv", features=True, number="y")) == ["x"]
        assert names(lk.load(pd.read_csv(tmp_path / "index.csv"), features=True, number="y")) == ["x"]
    frame.sample(frac=1, random_state=0).to_parquet(tmp_path / "index.parquet")
    assert names(lk.load(tmp_path / "index.parquet", features=True, number="y")) == ["x"]


# --- types and kinds that nobody asked for --------------------------------------------------------------------------

MORE: dict[str, tuple[Any, Any]] = {
    "period": (pd.period_range("2020-01", periods=4, freq="M"), "2020-01"),
    "cut": (pd.cut(range(4), 2), "(-0.003, 1.5]"),
    "interval": (pd.interval_range(0, 4), "(0, 1]"),
    "uuid": ([uuid.UUID(int=n) for n in range(4)], str(uuid.UUID(int=0))),
    "sparse": (pd.arrays.SparseArray([0, 1, 0, 1]), 0),
    "complex": ([1 + 2j] * 4, "(1+2j)"),
    "mixed": ([{"id": 1}, "x", None, []], '{"id": 1}'),
    "structs": ([{"a": 1}, {"a": "x"}, {"a": [1]}, None], '{"a": 1}'),
    "numbers and dates": ([1, "a", datetime.date(2020, 1, 1), None], "1"),
    "big": ([2**70, 1, 2, 3], str(2**70)),
    "decimal": ([decimal.Decimal("1.50")] * 4, decimal.Decimal("1.50")),
    "half": (np.arange(4).astype("f2"), 0.0),
    "unsigned": (np.array([2**64 - 1] * 4, "u8"), 2**64 - 1),
    "null": ([None] * 4, None),
    "map": (pa.array([[("a", 1)]] * 4, pa.map_(pa.string(), pa.int64())), '{"a": 1}'),
    "nested map": (pa.array([[[("a", 1)]]] * 4, pa.list_(pa.map_(pa.string(), pa.int64()))), '[[["a", 1]]]'),
    "month interval": (pa.array([(1, 2, 3)] * 4, pa.month_day_nano_interval()), None),
    "view": (pa.array(["a"] * 4, pa.string_view()), "a"),
    "small decimal": (pa.array([decimal.Decimal("1.5")] * 4, pa.decimal32(5, 2)), decimal.Decimal("1.50")),
    "clock": (pa.array([60] * 4, pa.time32("s")), datetime.time(0, 1)),
    "json": (pa.array(['{"a": 1}'] * 4, pa.json_()), '{"a": 1}'),
    "bytes": ([b"\xff"] * 4, b"\xff"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MORE)
def test_columns_of_any_type_that_nobody_asked_for_are_kept(tmp_path, kind):
    values, first = MORE[kind]
    texts = {"text": ["a b", "c d", "e f", "g h"], "label": ["a", "b"] * 2}
    source = (
        pa.table({**texts, "more": values})
        if isinstance(values, pa.Array)
        else pd.DataFrame({**texts, "more": values})
    )
    rows = lk.load(source, text="text", label="label")
    found = rows["train"].with_format(None)["more"][0]
    assert found == first or (kind == "month interval" and "1" in found)
    assert open_rows(rows.save(tmp_path / "rows"))["train"]["more"][0] == rows["train"]["more"][0]
    assert lk.load(source, text="text").spec.label is not None
    named = lk.load(
        [{"text": "a", "more": value} for value in rows["train"].with_format(None)["more"][:]], label=False
    )
    assert len(named) == 4
    if isinstance(values, pa.Array) and kind != "month interval":
        pq.write_table(source, tmp_path / "x.parquet")
        assert (
            lk.load(tmp_path / "x.parquet", text="text", label="label")["train"].with_format(None)["more"][0]
            == first
        )


def test_mixed_kinds_are_reported_and_are_no_feature():
    rows = table(more=[{"id": 1}, "x", None, [], 5, "y"] * 10)
    assert names(rows) == ["x"] and noted(rows, "column excluded") == [
        ("more", "lists, dicts or mixed types")
    ]
    assert len(noted(rows, "mixed types converted to JSON text")) == 20
    for settings in ({"label": "more"}, {"number": "more"}):
        with pytest.raises(DataError, match=r"'more' has mixed types: row 0 contains a dict"):
            lk.load([{"text": "a", "more": value} for value in ({"id": 1}, "x")], **settings)


@pytest.mark.parametrize(
    ("one", "two", "found"),
    [
        ([1, 2], [1.5, 2.5], [1, 2, 1.5, 2.5]),
        ([1, 2], ["x", "y"], ["1", "2", "x", "y"]),
        ([None, None], [1, 2], [None, None, 1, 2]),
        ([1, 2], [[1], [2]], ["1", "2", "[1]", "[2]"]),
        ([{"a": 1}, {"a": 2}], [{"a": "x"}, None], ['{"a": 1}', '{"a": 2}', '{"a": "x"}', None]),
        ([2**60 + 1, 2], [0.5, 1.5], [2.0**60, 2, 0.5, 1.5]),
        (pd.to_datetime(["2020", "2021"]).astype("datetime64[s]"), pd.to_datetime(["2020", "2021"]),
         [datetime.datetime(2020, 1, 1), datetime.datetime(2021, 1, 1)] * 2),
    ],
)  # fmt: skip
def test_shards_whose_types_differ_are_joined(tmp_path, one, two, found):
    for number, values in enumerate((one, two)):
        frame = pd.DataFrame(
            {"text": [f"text {number} {n}" for n in range(2)], "label": ["a", "b"], "more": values}
        )
        frame.to_parquet(tmp_path / f"train-0000{number}-of-00002.parquet")
    rows = lk.load(tmp_path)
    assert rows["train"].with_format(None)["more"][:] == found and rows["train"]["row"][:] == [0, 1, 2, 3]
    if found[0] != one[0] and isinstance(found[0], str):
        assert rows.report.counts()["repaired"]


# --- tables of other libraries --------------------------------------------------------------------------------------


class Stream:
    """What any library gives that speaks Arrow's interface for C."""

    columns = ("text", "label")

    def __init__(self, found: pa.Table):
        self.found = found

    def __arrow_c_stream__(self, schema: Any = None) -> Any:
        return self.found.__arrow_c_stream__(schema)


def foreign(kind: str, frame: pd.DataFrame) -> Any:
    if kind == "stream":
        return Stream(pa.table(frame))
    if kind == "arrow":
        return pa.table(frame)
    if kind == "Dataset":
        return Dataset.from_pandas(frame)
    if kind.startswith("polars"):
        made = pytest.importorskip("polars").from_pandas(frame)
        return made.lazy() if kind == "polars lazy" else made
    duckdb = pytest.importorskip("duckdb")
    base = duckdb.connect().register("frame", frame)
    return base.sql("from frame") if kind == "duckdb relation" else base.execute("from frame")


@pytest.mark.parametrize(
    "kind", ["stream", "arrow", "Dataset", "polars", "polars lazy", "duckdb relation", "duckdb result"]
)
def test_tables_of_other_libraries_are_read(kind):
    frame = pd.DataFrame(
        {"when": DAYS, "mood": ["ab"[n % 2] for n in range(COUNT)], "x": NUMBERS, "y": NUMBERS}
    )
    expected = lk.load(frame, features=True, number="y")
    rows = lk.load(foreign(kind, frame), features=True, number="y")
    assert rows.fingerprint == expected.fingerprint and rows.spec == expected.spec
    assert asked(rows, foreign(kind, frame[:3])) == asked(rows, frame[:3])


def test_a_query_that_fails_and_what_is_no_table_are_said():
    duckdb = pytest.importorskip("duckdb")
    with pytest.raises(DataError, match="cannot be read as a table: Conversion Error"):
        lk.load(duckdb.sql("select cast(s as int) as x from (values ('a')) t(s)"))
    with pytest.raises(DataError, match="load cannot read a Series"):
        lk.load(pd.Series([1, 2]))
    with pytest.raises(DataError, match="the Table has 0 rows"):
        lk.load(pa.table({"text": pa.array([], pa.string())}))


def test_a_schema_survives_its_file():
    column = Column("a=b", "category", ("a=b=1", "a=b=2"), ("1", "2"), ids=True)
    spec = Spec(modality="features", features=(column, Column("größe", decimal=",", percent=True)))
    assert loads(Spec, dumps(spec)) == spec
