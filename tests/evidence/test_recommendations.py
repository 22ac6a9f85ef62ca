"""Recommendations for MovieLens by full ranking and a split by time: SASRec, popularity, item neighbours and EASE.

``python -m pytest -m soak tests/evidence/test_recommendations.py -s`` prints the table.
"""

from __future__ import annotations

import time

import pytest

import labkit as lk


@pytest.mark.soak
def test_sasrec_finds_more_than_popularity(tmp_path):
    rows = lk.load("movielens").split(validation=0.1, test=0.2)
    begin = time.monotonic()
    run = lk.fit(rows, "sasrec", folder=tmp_path, background=False, epochs=15)
    minutes = (time.monotonic() - begin) / 60
    report = run.evaluate()
    print(
        f"\nsasrec, {run.info.summary['parameters']:,} parameters, {len(rows):,} rows, {minutes:.1f} min\n{report}"
    )
    table = report.compare(report.baselines)
    assert table.loc["popularity", "gain_low"] > 0
    assert report.scores["ndcg"] > report.baselines["item neighbours"].scores["ndcg"]
