"""The table of words."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

import labkit.panels
from labkit.base.errors import ConfigError
from labkit.panels.series import DRAWN
from labkit.panels.words import LANGUAGES, TABLE, language, word
from labkit.train.store import STATUSES


def places(text: str) -> set[str | None]:
    return {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}


@pytest.mark.parametrize("key", TABLE)
def test_every_language_says_the_same(key: str):
    english, chinese = TABLE[key]
    assert english.strip() and chinese.strip()
    assert places(english) == places(chinese)


def test_the_words_used_are_the_words_there_are():
    source = "".join(path.read_text() for path in Path(labkit.panels.__path__[0]).glob("*.py"))
    source = source.replace("_help", "")
    used = set(re.findall(r"(?:word|_ask|_button)\(\s*f?[\"'](\w+)", source))
    used |= set(STATUSES) | {part for pair in DRAWN for part in pair} | {"resume", "progress"}
    assert used - set(TABLE) == set()
    assert {key.removesuffix("_help") for key in TABLE} - used == set()


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
    with pytest.raises(ConfigError, match="'fr'"):
        language("fr")
