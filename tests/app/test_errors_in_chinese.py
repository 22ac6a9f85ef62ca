"""Errors as panels show them in Chinese: the real ones, with every value, and no English left in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import labkit as lk
from labkit.app.state import State
from labkit.app.steps.predict import numbers_of
from labkit.core.errors import DataError, LabkitError, RunError, headed
from labkit.data.report import Report
from labkit.hub.samples import SAMPLES
from labkit.i18n import Message, translate
from labkit.inference.predictor import Predictor
from labkit.models.weights import find
from labkit.runs.store import Store, make_room
from labkit.runs.supervisor import Supervisor
from labkit.train.checkpoint import checkpoint_error
from labkit.train.experiment import Experiment, Training
from labkit.train.failure import failure_fields
from labkit.train.optimizer import Optimizer
from labkit.train.step_health import NotFinite
from labkit.viz import run_html

from .hostile import HOSTILE, executable

CHINESE = re.compile("[\u4e00-\u9fff]")


def shown(call: Callable[[], Any]) -> str:
    """The error of a call as a panel shows it in Chinese."""
    with pytest.raises(LabkitError) as caught:
        call()
    return translate(headed(caught.value), "zh")


def english(chinese: str) -> list[str]:
    """Runs of English words, but for code, what stands in quotes, and names of things."""
    code = r"`[^`]*`|'[^']*'|\"[^\"]*\"|lk\.load\(.*?\)|pip install \S+|labkit samples fetch"
    plain = re.sub(f"{code}|Hugging Face|JSON Lines|Git LFS", "", chinese)
    return re.findall("[A-Za-z]{2,}(?: +[A-Za-z]{2,})+", plain)


TEXTS = [f"a sentence number {number} about {number % 7} things" for number in range(40)]


def rows(**columns: Any) -> list[dict[str, Any]]:
    named = {"text": TEXTS, "label": [str(number % 2) for number in range(40)], **columns}
    return [dict(zip(named, values, strict=True)) for values in zip(*named.values(), strict=True)]


def small(name: str, **settings: Any) -> Any:
    return lk.models[name](**settings)


REAL: dict[str, tuple[Callable[[], Any], str]] = {
    "class": (lambda: lk.load(rows(), text="txt"), "没有列 'txt'。是否指 'text'？可用的有：text, label。"),
    "no text": (lambda: lk.load([{"a": 1, "b": 2}] * 9), "没有含文本的列；现有列为 a, b。请在“文本列”中选择"),
    "numbers": (lambda: lk.load(rows(label=np.linspace(0, 1, 40))), "请将“目标类型”设为“一个数值”"),
    "no label": (
        lambda: lk.load(rows(label=[None, *"ab" * 19, "a"])),
        "缺少标签：1 行（共 40 行，属训练集；行号 0）。请将“无标签的行”",
    ),
    "a pickle": (lambda: lk.load("table.csv"), "'table.csv' 是 pickle 文件，这种格式打开时可能运行代码"),
    "kind": (lambda: lk.load("table.xlsz"), "的类型 labkit 无法读取"),
    "empty": (lambda: lk.load("empty.csv"), "'empty.csv' 有 0 行：文件为空。"),
    "folder": (lambda: lk.load("folder"), "文件夹 'folder' 含有：（空）。请为每个子集放一个文件"),
    "revision": (lambda: lk.load("some/thing"), "hub 上的 'some/thing' 可能会变"),
    "leakage": (
        lambda: lk.fit(leaking(), small("textcnn", preset="tiny"), folder="lab"),
        "4 行（共 4 行，属验证集；100.0 %）也在训练集（行号 = 训练集中的行号：0 = 0, 1 = 1, 2 = 2, 3 = 3）；"
        "4 行（共 4 行，属测试集",
    ),
    "sizes": (
        lambda: lk.load(rows()).split(validation=30, test=20),
        "测试集 20 与 验证集 30 会占去 50 行，而 train 共有 40 行",
    ),
    "heads": (lambda: small("bert", width=10, heads=3), "BertConfig：宽度 = 10 不是注意力头数 = 3 的倍数。"),
    "field": (lambda: small("bert", dropout=2.0), "“丢弃率”（BertConfig.dropout） = 2.0 高于最大值"),
    "choice": (
        lambda: Optimizer(algorithm="adma"),
        "“优化器”（Optimizer.algorithm） = 'adma' 不在可选值之内",
    ),
    "least": (lambda: Training(epochs=0), "“轮数”（Training.epochs） = 0 低于最小值 1。"),
    "setting": (
        lambda: Training.from_dict({"epoch": 1}),
        "Training 没有设置 'epoch'。是否指 'epochs'？可用的有：",
    ),
    "type": (
        lambda: Training.from_dict({"epochs": "x"}),
        "“轮数”（Training.epochs） = 'x' 的类型是 str；应为 int。",
    ),
    "unknown": (lambda: lk.models["berd"], "未知的架构 'berd'。是否指 'bert'？可用的有：bert"),
    "reads": (
        lambda: lk.fit(lk.load(rows()), small("mlp"), folder="lab"),
        "数据为文本；MlpConfig 需要数值特征。适合文本的架构：",
    ),
    "learns": (
        lambda: lk.fit(lk.load(rows()), small("bert", preset="tiny"), task="regress", folder="lab"),
        "每行的目标是一个类别；'regress' 需要一个数值。请使用任务 'classify'。",
    ),
    "no model": (lambda: Experiment.from_dict({}), "实验没有指定模型"),
    "weights": (lambda: find("minilm"), "权重 'minilm' 不是示例（"),
    "other weights": (lambda: find("a.bin"), "只打开 safetensors，因为其他格式可能运行代码。"),
    "no export": (lambda: Predictor("folder"), "'folder' 中没有 labkit.toml"),
    "numbers with a word": (
        lambda: numbers_of("1, x", 2),
        "无法读作数值：'x'：请给出 2 个以逗号分隔的数值。",
    ),
    "no run": (lambda: Store("lab").run("x"), "没有运行 'x'（在 lab 中）"),
    "diverged": (lambda: raised(NotFinite([3, 4])), "梯度连续 2 步不是有限的数值，最后为第 4 步。"),
    "disk": (
        lambda: raised(checkpoint_error(7, "No space left on device")),
        "第 7 步的检查点未能保存：磁盘空间不足。之前的检查点完好。",
    ),
    "killed": (lambda: raised(RunError(ended(-9))), "进程被 SIGKILL 终止，最多占用内存 2.0 GB。"),
    "ended": (lambda: raised(RunError(ended(3))), "进程以代码 3 结束，最多占用内存 2.0 GB：KeyError: 'x'。"),
}


def leaking() -> lk.Rows:
    found = lk.load(rows())
    part = found["train"]
    return found.with_splits(
        {"train": part, "validation": part.select(range(4)), "test": part.select(range(4))}, []
    )


def ended(code: int) -> str:
    here: Any = SimpleNamespace(last_line=lambda index: "KeyError: 'x'")
    end = Supervisor.end_of(here, 0, code, 2_000_000_000, [])
    assert end is not None
    return Message("{end}.{times}", {"end": end.text, "times": ""})


def raised(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("name", REAL)
def test_real_errors_are_in_chinese(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("table.csv").write_bytes(b"\x80\x04\x95" + bytes(80))
    Path("table.xlsz").write_text("a,b\n1,2\n")
    Path("empty.csv").write_text("")
    Path("folder").mkdir()
    call, wanted = REAL[name]
    said = shown(call)
    assert wanted in said
    assert english(said.partition(": ")[2]) == []  # commas: lists of names


def test_errors_that_a_person_meets_first_are_in_chinese(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("bad.csv").write_text("text,label\na b,x\nc d,y\n,x\n")
    lines = "".join(f"text one {i} abc defg hij,other text {i} klm nop,{i % 2},{i % 3}\n" for i in range(40))
    Path("two.csv").write_text("one,two,three,four\n" + lines)
    for call, said in (
        (lambda: lk.load("nothing.csv"), "数据错误 DataError: 'nothing.csv' 不是此处的文件"),
        (lambda: lk.load("bad.csv"), "文本为空（1）：训练集第 2 行"),
        (lambda: lk.load("two.csv"), "有多列可能是文本"),
        (lambda: State().cleaned(), "尚无数据"),
        (lambda: State().experiment, "设置错误 ConfigError: 尚未选择模型"),
        (lambda: numbers_of("1, 2", 3), "输入了 2 个数值；模型需要 3 个"),
    ):
        assert said in shown(call)


def test_what_loading_reports_is_in_chinese(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"text,label,row\n" + b"a\xffb,x,1\n" + b"c d,X,2\n" + b",x,3\n" + b"e f,x\n" * 2)
    report: Report = lk.load(path, on_bad="skip").report
    reasons = [reason for found in report.counts().values() for reason in found]
    assert (
        len(reasons) > 4
        and [reason for reason in reasons if not CHINESE.search(translate(reason, "zh"))] == []
    )
    details = [translate(note.detail, "zh") for note in report.notes if note.detail]
    assert [one for one in details if english(one)] == []


def test_samples_are_described_in_chinese():
    assert [one.name for one in SAMPLES.values() if not CHINESE.search(translate(one.about, "zh"))] == []


def test_cures_of_runs_are_in_chinese():
    for error, shape, cure in (
        (MemoryError(), "", ""), (MemoryError(), "16 x 32", ""), (OSError(), "", make_room()), (KeyError("x"), "", ""),
    ):  # fmt: skip
        said = translate(failure_fields(error, 32, shape, cure)["cure"], "zh")
        assert CHINESE.search(said) and english(said) == []


@pytest.mark.parametrize("number", range(0, 40, 8))
def test_data_in_errors_stay_what_they_are_and_are_escaped(number: int):
    for text in HOSTILE[number : number + 8]:
        error = DataError(Message("no batch at step {step} ({examples} examples)."), step=text, examples=text)
        assert text in translate(error.message, "zh")
        problem = run_html.Problem(headed(error), text, text)
        assert executable(run_html.error_box(problem, "run", "zh")) == []
