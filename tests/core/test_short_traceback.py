"""An error of labkit in a notebook: the line of the user's code and the message, no frames of labkit."""

from __future__ import annotations

import pytest
from IPython.core.interactiveshell import InteractiveShell


def shown(code: str, capsys: pytest.CaptureFixture[str]) -> str:
    InteractiveShell().run_cell(code)
    return capsys.readouterr().out


def test_only_the_users_line_and_the_message_are_shown(capsys, monkeypatch) -> None:
    code = "import labkit as lk\ndef f(x):\n    return lk.load(x)\nf('nothing.csv')"
    text = shown(code, capsys)
    assert (
        "----> f('nothing.csv')" in text
        and "DataError: 'nothing.csv' is neither" in text
        and text.count("\n") <= 3
    )
    monkeypatch.setenv("LABKIT_TRACEBACK", "full")
    assert "load.py" in shown(code, capsys)


def test_texts_of_the_data_cannot_steer_the_page(capsys) -> None:
    text = shown("from labkit.core.errors import DataError\nraise DataError('a\\x1b[2Jb')", capsys)
    assert "a␛[2Jb" in text and "\x1b[2J" not in text
