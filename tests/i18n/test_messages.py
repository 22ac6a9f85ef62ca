"""Messages keep msgid and parameters wherever they go, and are translated only when they are shown."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from labkit.core.errors import DataError, RunError, headed, nearest, os_reason
from labkit.core.text import visible
from labkit.data.report import Report
from labkit.i18n import Message, _, joined, ngettext, pgettext, plain, revive, translate
from labkit.i18n.labels import setting, split_name
from labkit.runs.store import Store

NO_COLUMN = "{split} has no column {column!r}.{hint} It has: {known}."


def no_column(**params: object) -> DataError:
    return DataError(
        Message(NO_COLUMN), **{"split": "films.csv", "hint": "", "known": "text, label", **params}
    )


def chinese(error: DataError | RunError) -> str:
    return translate(error.message, "zh")


def test_a_message_is_its_english_text():
    message = _("{n:,} of {total:,} rows", n=3000, total=9000)
    assert message == "3,000 of 9,000 rows" and {message: 1}["3,000 of 9,000 rows"] == 1
    assert translate(message, "en") == str(message) and translate(message, "zh") == "3,000 行（共 9,000 行）"
    assert str(no_column(column="a'b")) == 'films.csv has no column "a\'b". It has: text, label.'
    assert (no_column(column="x").message.msgid, no_column(column="x").message.params["column"]) == (
        NO_COLUMN,
        "x",
    )


def test_parameters_are_translated_where_they_are_messages():
    error = no_column(split=split_name("train"), column="txt", hint=nearest("txt", ["text"]))
    assert chinese(error) == "训练集没有列 'txt'。是否指 'text'？可用的有：text, label。"
    again = DataError(
        _("{name} cannot be read: {error}."), name="x.wav", error=DataError(_("sound without samples"))
    )
    assert str(again) == "x.wav cannot be read: sound without samples."
    assert chinese(again) == "无法读取 x.wav：声音没有采样。"
    assert translate(joined("; ", [_("empty text"), "text"]), "zh") == "文本为空；text"
    assert translate(setting("Training.epochs"), "zh") == "“轮数”（Training.epochs）"


def test_what_looks_like_a_message_is_none():
    """Neither a value of the data nor another program's sentence is translated, whatever it reads."""
    for text in ("empty text", "train", "", "DataError", "Project-Id-Version: labkit"):
        assert translate(text, "zh") == text
        assert chinese(no_column(column=text)) == f"films.csv没有列 {text!r}。可用的有：text, label。"
    assert translate(_("no such text {in} the catalogue"), "zh") == "no such text {in} the catalogue"
    assert translate(_(""), "zh") == ""


def test_the_four_misfires_of_matching_finished_sentences():
    """A value that reads like the rest of a sentence, and sentences of others that resemble labkit's."""
    value = "Known: yes. It has: no"
    assert chinese(no_column(column=value)) == f"films.csv没有列 {value!r}。可用的有：text, label。"
    for foreign in (
        "server answers 404 Not Found.",
        "this module is not there",
        "The dataset mnist cannot be fetched: HTTP 503.",
    ):
        assert translate(headed(OSError(foreign)), "zh") == f"系统错误 OSError: {foreign}"
        assert chinese(RunError(_("this serialisation of R is damaged: {error}"), error=foreign)).endswith(
            foreign
        )


def test_equal_english_of_different_meanings_is_told_by_its_context():
    assert translate(pgettext("split", "train"), "zh") == "训练集"
    assert translate(_("train"), "zh") == "训练"


def test_a_plural_follows_its_number():
    one, two = (ngettext("{label!r} has {n} row", "{label!r} has {n} rows", n, label="x") for n in (1, 2))
    assert (one, two) == ("'x' has 1 row", "'x' has 2 rows")
    assert translate(one, "zh") == "'x' 有 1 行" and translate(two, "zh") == "'x' 有 2 行"


def kinds() -> list[Message]:
    error = no_column(split=split_name("test"), column="x", known=_("none"))
    return [
        error.message,
        ngettext("{label!r} has {n} row", "{label!r} has {n} rows", np.int64(2), label=Path("x")),
        joined("\n", [_("row {row}", row=np.int64(3)), _("empty text")]),
        _("{label} ({place})", label=pgettext("split", "train"), place=(1, 2)),
        headed(error),
    ]


def _same(messages: list[Message]) -> list[tuple[str, str]]:
    return [(str(message), translate(message, "zh")) for message in messages]


def test_messages_survive_copies_json_and_other_processes():
    wanted = _same(kinds())
    assert any("测试集" in said for _, said in wanted)
    assert _same(pickle.loads(pickle.dumps(kinds()))) == wanted
    assert _same(copy.deepcopy(kinds())) == wanted
    assert _same(revive(json.loads(json.dumps(plain(kinds()))))) == wanted
    error = pickle.loads(pickle.dumps(no_column(column="x")))
    assert type(error) is DataError and chinese(error) == chinese(no_column(column="x"))
    assert chinese(copy.copy(error)) == chinese(error)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert _same(pool.submit(kinds).result()) == wanted
        with pytest.raises(DataError) as caught:
            pool.submit(_raise).result()
    assert chinese(caught.value) == chinese(no_column(column="x"))


def _raise() -> None:
    raise no_column(column="x")


def test_a_stored_message_of_another_version_stays_readable():
    stored = {"text": "as it was said", "msgid": "gone: {x.__class__}", "params": {"x": 1}}
    assert translate(revive(stored), "zh") == "as it was said"
    other = {"text": "row 3", "msgid": "row {row}", "params": {"line": 3}}
    assert translate(revive(other), "zh") == "row 3"
    assert revive({"text": 1, "msgid": "row {row}", "params": {}}) == {
        "text": 1,
        "msgid": "row {row}",
        "params": {},
    }


def test_the_store_keeps_msgid_and_parameters(tmp_path: Path):
    store = Store(tmp_path)
    store.create("r", "r")
    store.update("r", error=headed(no_column(column="x")), summary={"warnings": [_("empty text")]})
    info = store.run("r")
    assert info.error == "DataError: films.csv has no column 'x'. It has: text, label."
    assert translate(info.error, "zh") == "数据错误 DataError: films.csv没有列 'x'。可用的有：text, label。"
    assert translate(info.summary["warnings"][0], "zh") == "文本为空"


def test_reports_keep_them_too():
    report = Report()
    report.add("refused", _("empty text"), [3], detail=_("line {line}", line=4))
    (note,) = Report.from_dict(json.loads(json.dumps(report.to_dict()))).notes
    assert Report.from_dict(report.to_dict()) == report
    assert [translate(text, "zh") for text in (note.reason, note.detail)] == ["文本为空", "第 4 行"]


def test_a_message_is_cut_and_made_visible_in_its_parameters():
    message = visible(_("empty text: {value!r}", value="a\x00" * 90), 20)
    assert "\x00" not in message and len(message) < 30 and len(message.params["value"]) < 30


def test_the_system_gives_its_reason_in_chinese():
    assert translate(os_reason(OSError(28, "No space left on device")), "zh") == "磁盘空间不足"
    assert (
        os_reason(OSError(99, "Something else")) == "Something else" and os_reason(OSError("bare")) == "bare"
    )


def test_no_catalogue_is_read_before_it_is_asked_for():
    code = "import labkit.viz.words, labkit.i18n.catalogue as c; print(c.catalogue.cache_info().currsize)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"]
