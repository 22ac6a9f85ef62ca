"""The panel Search: an index made by a click, results with highlighted words, answers, in both languages."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import labkit as lk
from labkit.app.steps import search as step
from labkit.app.steps.search import SearchPanel as Search
from labkit.viz.search_html import highlighted

from .hostile import HOSTILE, executable
from .test_chinese import english
from .test_train import shown


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "货币.md").write_text("# 货币\n选择货币格式。\n# 日期\n选择日期格式。\n", "utf-8")
    (tmp_path / "x.bin").write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize("language", ["zh", "en"])
def test_texts_are_indexed_searched_and_asked(folder, language, monkeypatch):
    monkeypatch.chdir(folder)
    writer = SimpleNamespace(chat=lambda prompt, **settings: "选择货币格式")
    monkeypatch.setattr("labkit.retrieval.index.TextGenerationPipeline", lambda name: writer)
    panel = Search(language=language)
    assert panel.go.disabled and panel.code() == "" and panel.problem is None
    panel.place.value, panel.encoder.value = str(folder), ""
    panel.make.click()
    panel.settle()
    assert panel.problem is None and not panel.go.disabled and "x.bin" in panel.about.value
    panel.query.value = "货币怎么选"
    panel.go.click()
    panel.settle()
    assert panel.problem is None and panel.shown.value.index("货币.md") < panel.shown.value.index("日期")
    assert "选择<mark>货币</mark>格式" in panel.shown.value
    scope: dict[str, Any] = {}
    *lines, last = panel.code().strip().splitlines()
    exec("\n".join(lines), scope)
    assert eval(last, scope)[0].passage.text == "选择货币格式。"
    panel.ask.click()
    panel.settle()
    assert panel.problem is None and "选择货币格式 [1]" in panel.shown.value
    assert "index.answer(" in panel.code()
    if language == "zh":
        assert english(panel.root) == []
    panel.query.value = "?"
    panel.go.click()
    panel.settle()
    assert panel.problem is not None
    panel.close()


def test_a_saved_index_opens_and_an_index_can_be_given(folder, tmp_path):
    index = lk.SearchIndex.from_folder(folder, "")
    kept = index.save(tmp_path / "kept")
    panel = Search(kept, language="en")
    panel.settle()
    assert panel.problem is None and len(panel.index) == 2 and "SearchIndex.load(" in panel.code()
    panel.close()
    given = Search(index, language="en")
    assert not given.go.disabled and "given" in given.code() and step.is_index(str(kept))
    given.close()


def test_texts_and_queries_are_data(folder):
    for number, text in enumerate(HOSTILE):
        (folder / f"h{number}.txt").write_text(f"{text} word", "utf-8", errors="replace")
    panel = Search(lk.SearchIndex.from_folder(folder, ""), language="en")
    for text in HOSTILE[::4]:
        panel.query.value = f"{text[:60]} word"
        panel.go.click()
        panel.settle()
        assert executable(shown(panel)) == [] and "Traceback" not in (
            panel.problem.text if panel.problem else ""
        )
        compile(panel.code(), "code", "exec")
    panel.close()


def test_words_of_the_query_are_marked():
    assert str(highlighted("Save <b>files</b>, save.", "save FILES")) == (
        "<mark>Save</mark> &lt;b&gt;<mark>files</mark>&lt;/b&gt;, <mark>save</mark>."
    )
    assert str(highlighted("打开文件夹", "文件")) == "打开<mark>文件</mark>夹"
