"""Every export of the cover is opened by transformers or sentence-transformers, and answers there as here."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..inference.exports.cases import CASES, export, ours
from ..inference.test_exports import assert_alike

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]


@pytest.mark.parametrize("name", CASES)
def test_an_export_answers_there_as_here(name: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("sentence_transformers")
    from ..inference.exports.theirs import answers

    run, folder = export(CASES[name], tmp_path)
    assert_alike(ours(CASES[name], run), answers(CASES[name], folder))
