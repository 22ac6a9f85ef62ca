"""Numbers with thousands separators, and units in the names of columns."""

from __future__ import annotations

import math

import pytest

from labkit.core.units import plain, score, unit_in


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (251250.37, "251,250"), (1234.5, "1,234.5"), (-1234567.0, "-1,234,567"), (0.0123456, "0.012346"),
        (57.5, "57.5"), (0, "0"), (-0.0, "0"), (999999.6, "1,000,000"), (1e20, "1e+20"), (1e-9, "1e-09"),
        (math.inf, "inf"), (104, "104"),
    ],
)  # fmt: skip
def test_a_number_is_written_without_an_exponent(number: float, text: str):
    assert plain(number) == text


def test_an_error_has_the_size_of_its_target_and_a_score_three_decimals():
    assert [score(value, "mae") for value in (19660.4, 0.00123, 0.0)] == ["19,660", "0.00123", "0"]
    assert [score(value, "f1") for value in (0.36, 0.0182, 1)] == ["0.360", "0.018", "1.000"]


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("price_eur", "EUR"), ("area_m2", "m²"), ("Preis (EUR)", "EUR"), ("温度（℃）", "℃"), ("weight [kg]", "kg"),
        ("max temp celsius", "°C"), ("rooms", ""), ("built_year", ""), ("census (2020)", ""), ("vitamin_c", ""),
        ("", ""), ("km", ""),
    ],
)  # fmt: skip
def test_the_unit_ends_the_name(name: str, unit: str):
    assert unit_in(name) == unit
