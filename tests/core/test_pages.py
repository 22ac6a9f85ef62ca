"""Huge pages: asked for where that works, and a choice made before is kept."""

from __future__ import annotations

import subprocess
import sys

import pytest

from labkit.core.huge_pages import with_huge_pages

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="a setting of Linux' C library")


@LINUX
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=1"}, "glibc.malloc.check=1:glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, "glibc.malloc.hugetlb=0"),
    ],
)
def test_the_environment_asks_for_them_unless_it_says_otherwise(before: dict[str, str], after: str) -> None:
    environment = with_huge_pages({"PATH": "x", **before})
    assert environment == {"PATH": "x", "GLIBC_TUNABLES": after}
    assert with_huge_pages(environment) == environment


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert with_huge_pages({"PATH": "x"}) == {"PATH": "x"}


TOUCH = """
import resource
from labkit.core.huge_pages import huge_pages
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
block = bytearray(64 << 20)
print(huge_pages(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@LINUX
def test_a_process_with_them_has_few_page_faults() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TOUCH], env=with_huge_pages(), capture_output=True, text=True, check=True
    )
    said, _, faults = done.stdout.rpartition(" ")
    if said != "on":
        pytest.skip("this system gives no huge pages")
    assert int(faults) < 64 * 256 / 4  # pages of 4 kB would be 16,384
