"""What other floors say, in Chinese: the tables know all that they may meet, and leave data as they are."""

from __future__ import annotations

import ast
import errno
import itertools
import re
from pathlib import Path

import pytest

import labkit as lk
import labkit.data
from labkit.base.errors import LabkitError
from labkit.base.samples import SAMPLES
from labkit.data.report import ACTIONS
from labkit.panels import static, words_said
from labkit.panels.state import State
from labkit.panels.use import _numbers
from labkit.train.teller import told

from .hostile import HOSTILE, executable

CHINESE = re.compile("[\u4e00-\u9fff]")


def reasons() -> list[str]:
    """Every reason that labkit.data notes of rows, as far as it is written there as one string."""
    found = set()
    for path in Path(labkit.data.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            texts = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            for action, why in itertools.pairwise(texts):
                if action in ACTIONS and getattr(node.func, "attr", getattr(node.func, "id", "")) in ("add", "Note"):
                    found.add(why)
    return sorted(found)


def test_every_sample_and_every_reason_has_its_chinese():
    assert set(words_said.SAMPLES) == {sample.name for sample in SAMPLES.values() if sample.kind == "data"}
    assert len(reasons()) > 25
    assert [why for why in reasons() if not CHINESE.search(words_said.reason(why, "zh"))] == []
    assert words_said.reason("column renamed: it is called 'a' now", "zh") == "列已改名：现名 'a'"
    assert words_said.reason("not a number: none", "zh") == "不是数值：none"  # a value of the data stays
    assert words_said.reason("bytes that are not gbk became U+FFFD", "zh") == "不合 gbk 编码的字节变为 U+FFFD"
    assert words_said.reason("empty text", "en") == "empty text"


def complaint(call) -> str:
    with pytest.raises(LabkitError) as caught:
        call()
    return f"{type(caught.value).__name__}: {caught.value}"


def test_errors_that_a_person_meets_first_are_in_chinese(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("bad.csv").write_text("text,label\na b,x\nc d,y\n,x\n")
    lines = "".join(f"text one {i} abc defg hij,other text {i} klm nop,{i % 2},{i % 3}\n" for i in range(40))
    Path("two.csv").write_text("one,two,three,four\n" + lines)
    for call, said in (
        (lambda: lk.load("nothing.csv"), "数据错误 DataError: 'nothing.csv' 不是此处的文件"),
        (lambda: lk.load("bad.csv"), "文本为空 (1): 训练集第 2 行"),
        (lambda: lk.load("two.csv"), "有多列可能是文本"),
        (lambda: State().cleaned(), "尚无数据"),
        (lambda: State().experiment, "设置错误 ConfigError: 尚未选择模型"),
        (lambda: _numbers("1, 2", 3), "输入了 2 个数值；模型需要 3 个"),
    ):
        assert said in words_said.error(complaint(call), "zh")


def test_cures_of_runs_are_in_chinese():
    full = OSError(errno.ENOSPC, "No space left")
    for error, shape in ((MemoryError(), ""), (MemoryError(), "16 x 32"), (full, ""), (KeyError("x"), "")):
        cure = told(error, 32, shape)["cure"]
        said = words_said.sentences(cure, "zh")
        assert CHINESE.search(said) and not re.search(r"[a-z]+ [a-z]+ [a-z]+", said), said
    two = (
        "The system kills what takes too much memory: try half the batch_size, or accumulate=2. The run can be resumed "
    )
    said = words_said.sentences(two + "from its last checkpoint: lk.open_run('a.b').resume().", "zh")
    assert said.endswith("lk.open_run('a.b').resume()。") and "系统会终止" in said and "resumed" not in said


@pytest.mark.parametrize("number", range(0, 40, 8))
def test_data_in_errors_stay_what_they_are_and_are_escaped(number: int):
    for text in HOSTILE[number : number + 8]:
        said = words_said.error(f"DataError: {text[:90]} is no file or folder here", "zh")
        assert text[:90] in said
        problem = static.Problem(f"DataError: there is no file or folder {text}.", text, text)
        assert executable(static.error_box(problem, "run", "zh")) == []
