"""A test of the evidence whose run was cut fails, whatever its own asserts say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EVIDENCE = Path(__file__).parent.parent / "evidence" / "conftest.py"
TEST = """
import pytest
from labkit.runs.store import Store

def test_it(lab):
    Store(lab).create("a", "first", status={status!r})
    {act}
"""
#: Status of the run, what the test does → its outcome.
CASES = {
    ("finished", "pass"): "PASSED", ("stopped", "pass"): "FAILED", ("lost", "pass"): "FAILED",
    ("stopped", "pytest.xfail('why')"): "FAILED", ("finished", "pytest.xfail('why')"): "XFAIL",
}  # fmt: skip


def test_a_run_that_was_cut_is_no_evidence(tmp_path):
    (tmp_path / "conftest.py").write_text(EVIDENCE.read_text("utf-8"), "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    soak\n    samples\n")
    for number, (status, act) in enumerate(CASES):
        (tmp_path / f"test_{number}.py").write_text(TEST.format(status=status, act=act))
    words = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    found = re.findall(r"^test_(\d)\.py::test_it (\w+)", done.stdout, re.MULTILINE)
    assert dict(found) == {str(number): outcome for number, outcome in enumerate(CASES.values())}, done.stdout
