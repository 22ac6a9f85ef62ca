"""The table of words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import labkit
import labkit as lk
from labkit.core.errors import ConfigError
from labkit.models import models
from labkit.runs.store import STATUSES
from labkit.tasks import tasks
from labkit.viz import words, words_evaluate, words_steps, words_train
from labkit.viz.series import DRAWN
from labkit.viz.words import LANGUAGES, TABLE, language, word

ROOT = Path(labkit.__file__).parent
SOURCES = [path for room in ("app", "viz", "course") for path in sorted((ROOT / room).rglob("*.py"))]
#: Methods whose first argument is a key of the table.
ASK = {"word", "_word", "_ask", "_button", "button", "message"}


def constants(tree: ast.AST) -> Iterator[str]:
    """Every string in a module, of f-strings the part before the first brace with a star."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            first = node.values[0] if node.values else None
            if isinstance(first, ast.Constant):
                yield f"{first.value}*"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_word_that_is_asked_for_is_in_the_table():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                key = node.args[0].value
                if name in ASK and isinstance(key, str):
                    assert key in TABLE, f"{path.name}: {key!r}"
                    if name in ("button", "_button"):
                        assert f"{key}_help" in TABLE, f"{path.name}: {key!r} has no help"


def test_every_word_of_the_table_is_used():
    tables = {"words.py", "words_steps.py", "words_evaluate.py"}
    said = {
        text
        for path in SOURCES
        if path.name not in tables
        for text in constants(ast.parse(path.read_text("utf-8")))
    }
    said |= set(STATUSES) | {part for pair in DRAWN for part in pair}
    said |= {f"model_{name}" for name in models} | {f"task_{name}" for name in tasks}
    said |= {"ndcg", "bleu", "wer"}  # scores that runs are compared by
    said |= {part.word for name in models for part in models[name].drawing}
    starts = tuple(text[:-1] for text in said if text.endswith("*") and text.endswith("_*"))
    unused = {
        key for key in TABLE
        if key not in said and key.removesuffix("_help") not in said and not key.startswith(starts)
        and not re.match(r"(text|pair|label|answer|tags|time|series|messages|user|item|titles|transcript)_column", key)
    }  # fmt: skip
    assert unused == set()


def test_no_key_is_in_two_tables():
    tables = (words.RUNS, words_steps.TABLE, words_train.TABLE, words_evaluate.TABLE)
    assert len(TABLE) == sum(map(len, tables))


def test_a_word_in_each_language():
    assert [word("steps", name, step=3, steps=9) for name in LANGUAGES] == ["step 3 of 9", "第 3 / 9 步"]
    with pytest.raises(KeyError, match="Did you mean 'paused'"):
        word("pausd")


def test_the_language_is_named_or_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LABKIT_LANGUAGE", "zh_CN")
    assert (language(), language("en-GB")) == ("zh", "en")
    monkeypatch.delenv("LABKIT_LANGUAGE")
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert language() == "zh"
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert language() == "en"
    monkeypatch.setenv("JPY_SESSION_NAME", "/lab/08_finetuning_bert.zh.ipynb")
    assert (language(), language("en")) == ("zh", "en")
    with pytest.raises(ConfigError, match="'fr'"):
        language("fr")


def test_a_chosen_language_is_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(words, "chosen_language", None)
    monkeypatch.setenv("LABKIT_LANGUAGE", "en")
    assert (lk.language(), lk.language("zh"), lk.language(), language("en")) == ("en", "zh", "zh", "en")
    with pytest.raises(ConfigError, match="'fr'"):
        lk.language("fr")
    assert lk.language() == "zh"
