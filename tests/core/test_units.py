"""Numbers in short."""

from __future__ import annotations

import pytest

from labkit.core.units import compact


@pytest.mark.parametrize(("number", "text"), [
    (3.12345e-6, "3.12e-6"), (2e-5, "2e-5"), (5e-4, "5e-4"), (1e-3, "0.001"), (0.15234, "0.152"), (0, "0"), (5, "5"),
    (-2.5e-7, "-2.5e-7"), (166666.7, "1.67e5"), (1e-10, "1e-10"),
])  # fmt: skip
def test_a_number_is_written_to_three_digits(number: float, text: str):
    assert compact(number) == text
