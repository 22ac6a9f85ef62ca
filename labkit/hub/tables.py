"""Tables of health and credit among the samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from labkit.hub.corpora import Note
from labkit.hub.raw_table import RawTable

_YES = {0: False, 1: True}
#: Column of the file → name, and what its values mean; others are left out.
_ACTG175: Mapping[str, tuple[str, Mapping[int, Any] | None]] = {
    "age": ("age", None),
    "wtkg": ("weight", None),
    "gender": ("gender", {0: "female", 1: "male"}),
    "race": ("race", {0: "white", 1: "non-white"}),
    "hemo": ("hemophilia", _YES),
    "homo": ("homosexual_activity", _YES),
    "drugs": ("injected_drugs", _YES),
    "karnof": ("karnofsky_score", None),
    "symptom": ("symptoms", _YES),
    "oprior": ("other_antiretrovirals_before", _YES),
    "z30": ("zidovudine_in_last_30_days", _YES),
    "preanti": ("days_of_antiretrovirals", None),
    "str2": ("antiretrovirals_before", _YES),
    "strat": ("antiretroviral_history", {1: "none", 2: "up to 52 weeks", 3: "more than 52 weeks"}),
    "arms": (
        "treatment",
        {
            0: "zidovudine",
            1: "zidovudine + didanosine",
            2: "zidovudine + zalcitabine",
            3: "didanosine",
        },
    ),
    "cd40": ("cd4", None),
    "cd80": ("cd8", None),
}
#: Column of the file → name.
_HEART = {
    "age": "age", "sex": "sex", "cp": "chest_pain", "trestbps": "resting_blood_pressure", "chol": "cholesterol",
    "fbs": "fasting_blood_sugar_above_120", "restecg": "resting_ecg", "thalch": "maximum_heart_rate",
    "exang": "exercise_angina", "oldpeak": "st_depression", "slope": "st_slope", "ca": "coloured_vessels",
    "thal": "thallium_scan",
}  # fmt: skip
#: Of these 0 stands for a value that was not measured.
_NEVER_ZERO = ("chol", "trestbps")


def heart(place: Path) -> RawTable:
    """A patient a line; ``num`` is the number of narrowed vessels' grade, 0 … 4: more than 0 is a disease.

    A cholesterol or blood pressure of 0, as in all rows of two of the sites, means that it was not measured.
    """
    table = _read(place / "heart.csv")
    columns: dict[str, Any] = {"row": list(range(len(table["num"])))}
    for name, called in _HEART.items():
        values = table[name]
        columns[called] = (
            [None if value == 0 else value for value in values] if name in _NEVER_ZERO else values
        )
    columns["site"] = table["dataset"]
    columns["label"] = ["disease" if grade > 0 else "healthy" for grade in table["num"]]
    return _table(columns, ("healthy", "disease"), groups=("site",), indicators=True)


def actg175(place: Path, days: int = 730) -> RawTable:
    """A patient a line; the label is whether CD4 cells fell by half, or AIDS or death came, within ``days``.

    Of patients who left the trial earlier without it this is not known: they are dropped. Only what was known
    at the start is a feature.
    """
    table = _read(place / "actg175.csv")
    events = list(zip(table["cens"], table["days"], strict=True))
    kept = [row for row, (event, day) in enumerate(events) if event or day > days]
    notes: list[Note] = [
        (row, f"left the trial before day {days}")
        for row, (event, day) in enumerate(events)
        if not event and day <= days
    ]
    columns: dict[str, Any] = {"row": kept}
    for name, (called, meaning) in _ACTG175.items():
        read: Callable[[Any], Any] = (lambda value: value) if meaning is None else meaning.__getitem__
        columns[called] = [read(table[name][row]) for row in kept]
    columns["label"] = ["yes" if events[row][0] and events[row][1] <= days else "no" for row in kept]
    return _table(columns, ("no", "yes"), notes=notes)


def default(place: Path) -> RawTable:
    """A customer a line: balance and income, whether a student, and whether the debt was not paid."""
    table = _read(place / "default.csv")
    columns: dict[str, Any] = {
        "row": list(range(len(table["default"]))),
        "balance": table["balance"],
        "income": table["income"],
        "student": [value == "Yes" for value in table["student"]],
        "label": [value.lower() for value in table["default"]],
    }
    return _table(columns, ("no", "yes"))


def _read(file: Path) -> dict[str, list[Any]]:
    from pyarrow import csv

    options = csv.ConvertOptions(strings_can_be_null=True, null_values=["", "NA"])
    return csv.read_csv(file, convert_options=options).to_pydict()


def _table(columns: dict[str, Any], classes: tuple[str, ...], **more: Any) -> RawTable:
    from datasets import Dataset

    return RawTable(
        {"train": Dataset.from_dict(columns)}, "", "label", classes, kind="features", encoded=True, **more
    )
