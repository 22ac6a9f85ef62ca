"""Forecasts of the samples against the seasonal naive forecast: the ratio of test errors and its interval are below 1.

``python -m pytest -m soak tests/evidence/test_forecasts.py -s`` prints the table.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

import labkit as lk

#: Sample and architecture → epochs.
CASES = {
    ("bike-share", "dlinear"): 10,
    ("bike-share", "patchtst"): 5,
    ("trading-volume", "dlinear"): 6,
    ("trading-volume", "patchtst"): 4,
}


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    lines: list[str] = []
    yield lines
    print("\n" + "\n".join(lines))


@pytest.mark.soak
@pytest.mark.parametrize(("sample", "name"), CASES)
def test_the_error_is_below_that_of_the_seasonal_naive_forecast(sample, name, table, tmp_path):
    rows, begin = lk.load(sample), time.monotonic()
    run = lk.fit(rows, name, folder=tmp_path, background=False, epochs=CASES[sample, name])
    minutes = (time.monotonic() - begin) / 60
    report = run.evaluate()
    shown = []
    for other, one in {"model": report, **report.baselines}.items():
        low, high = one.intervals["mase"]
        shown.append(f"{other} {one.scores['mase']:.3f} ({low:.3f} – {high:.3f})")
    ratio, low, high = report.ratio(report.baselines["seasonal naive"])
    covered = report.scores["coverage"]
    table.append(
        f"forecast {sample} | {name}, {run.info.summary['parameters']:,} parameters | {len(rows):,} rows | "
        f"{minutes:.1f} min | MASE: {'; '.join(shown)} | "
        f"ratio to seasonal naive {ratio:.3f} ({low:.3f} – {high:.3f}) | "
        f"MAE {report.scores['mae']:.4g} | pinball {report.scores['pinball']:.4g}, seasonal naive "
        f"{report.baselines['seasonal naive'].scores['pinball']:.4g} | coverage of 80 % {covered:.3f} "
        f"({report.intervals['coverage'][0]:.3f} – {report.intervals['coverage'][1]:.3f}) | {report.origins.season}"
    )
    assert ratio < 1 and high < 1, table[-1]
