"""Errors in Chinese: the tables hold every sentence that a panel can show, no other, and lose no value of it."""

from __future__ import annotations

import ast
import functools
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import labkit as lk
from labkit.base.errors import RunError
from labkit.models.weights import find
from labkit.panels import words_errors, words_errors_data, words_errors_models, words_errors_train, words_said
from labkit.panels.use import _numbers
from labkit.ship.predictor import Predictor
from labkit.train.checkpoint import unsaved
from labkit.train.experiment import Experiment, Training
from labkit.train.health import NotFinite
from labkit.train.optim import Optimizer
from labkit.train.store import Store
from labkit.train.supervisor import Supervisor

from .test_words_said import complaint

PACKAGE = Path(lk.__path__[0])
FLOORS = ("base", "data", "models", "tasks", "train", "judge", "ship", "panels")
KINDS = {"DataError", "ConfigError", "WeightsError", "SampleError", "RunError", "FolderError", "StoreError"}
TABLES = tuple(file.SENTENCES for file in (words_errors, words_errors_data, words_errors_models, words_errors_train))

#: Files of which no panel shows an error → why.
ELSEWHERE = {
    # what they read has passed its SHA-256, or is labkit's own table
    "base/convert.py", "base/gguf.py", "base/catalog.py",
    # batches, packed rows and arrays are made by labkit itself, which checks rows and settings before
    "data/batch.py", "data/pack.py", "data/pairs.py",
    # rows in memory come from Python
    "data/memory.py",
    # Python asks them: panels judge without baselines, and ask for classes and cuts that there are
    "judge/baseline.py", "judge/linear.py", "judge/sizing.py", "judge/slices.py",
    "judge/thresholds.py", "judge/calibration.py",
    # it has words of its own
    "ship/server.py",
    # several processes, clusters, the search for a learning rate: from Python and the command line
    "train/peers.py", "train/scripts.py", "train/finder.py",
    # menus offer what there is
    "train/machine.py", "tasks/metrics.py", "panels/still.py", "panels/words.py",
}  # fmt: skip
#: Sentences that no panel shows, by how they begin → why.
NEVER = (
    # arguments that only Python gives: of load, of Rows, of texts and pictures
    "revision * of *", "texts must come in a list", "Pipeline.", "a text to clean must be", "the pipeline has no step",
    "label=True says nothing", "give number = *", "unknown encoding", "threshold = *", "text * of a",
    "classes = *", "classes=()", "size = *", "seconds = *", "rate = *", "min_score = *", "the sample * has no option",
    "reading a file has no option", "* = * must be one character",
    "a list of texts is needed", "* texts but * second", "text * is missing", "text * is *, a",
    "optimizer = * must be", "set changes learning_rate", "this * names no weights", "extra tensors have names",
    "patch = *", "unknown method", "points = *", "method = 'gradient'", "probability has shape", "There are * * for",
    "there are * texts and", "* has shape *",
    # samples are tables and have passed their SHA-256; labkit's own tables of names are whole
    "the sample * has no table", "* is no IDX file", "the table of names has no entry",
    # orders and tokens are labkit's own, and grams are counted before they are asked
    "an n-gram model needs an order", "this n-gram model has counted nothing", "tokens from * to * are not all",
    # the step Use opens a model as what it has learnt, asks for texts, and for no more than its menus offer
    "* has learnt *; only", "* holds a *; vectors", "weights * have no head", "this model was pretrained without next",
    "a prompt is a text", "a source is a text", "this model was not taught to talk", "a message has a role",
    "max_new_tokens = * is more than", "there is no prompt", "this folder leaves the tokens of a prompt",
    # rows that are texts, batches beyond the last: labkit asks for neither
    "these rows hold texts, not pictures", "an example of kind", "examples have the shape *; these means",
    "* is * already; choose another name", "* is defined in a function", "the data set has no column 'text'",
    # of Python's `run.wait()`, and of several processes
    "run * failed", "the process of run *", "* devices leave some of",
)  # fmt: skip


def text(node: ast.AST) -> str:
    """A string as it stands in the source, with a star for every value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text(part) if isinstance(part, ast.Constant) else "*" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text(node.left) + text(node.right)
    return "*"


@functools.cache
def trees() -> dict[str, ast.Module]:
    files = (path for floor in FLOORS for path in sorted((PACKAGE / floor).rglob("*.py")))
    return {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text("utf-8")) for path in files}


def errors() -> Iterator[tuple[str, str]]:
    """File and sentence of every error that is made with a sentence of its own, line by line."""
    for file, tree in trees().items():
        for node in ast.walk(tree):
            name = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and node.args and name in KINDS | {"kind"}:
                yield from ((file, line) for line in text(node.args[0]).split("\n") if re.search("[a-z]", line))


def filled(sentence: str) -> str:
    """A sentence with a mark for each value; one that begins a sentence of its own stands behind a space."""
    numbers = iter(range(sentence.count("*")))
    spaced = re.sub(r"(?<=[.)])\*(?=$| )", " *", sentence)
    return re.sub(r"\*", lambda star: f"⟦{next(numbers)}⟧", spaced)


def english(chinese: str, between: str = "[ ,;:]+") -> list[str]:
    """Runs of English words, but for code, what stands in quotes, and names of things."""
    code = r"`[^`]*`|'[^']*'|\"[^\"]*\"|lk\.load\(.*?\)|pip install \S+|labkit samples fetch"
    plain = re.sub(f"{code}|Hugging Face|JSON Lines|Git LFS", "", chinese)
    return re.findall(f"[A-Za-z]{{2,}}(?:{between}[A-Za-z]{{2,}})+", plain)


@pytest.mark.parametrize("floor", FLOORS)
def test_every_sentence_that_a_panel_shows_is_said_in_chinese(floor: str):
    missing = []
    for file, sentence in errors():
        if file.startswith(f"{floor}/") and file not in ELSEWHERE and not any(map(pattern_of(sentence), NEVER)):
            asked = filled(sentence)
            said = words_said.sentences(asked, "zh")
            if english(said) or re.findall("⟦.*?⟧", said) != re.findall("⟦.*?⟧", asked):
                missing.append((file, sentence, said))
    assert missing == []


def pattern_of(sentence: str) -> Callable[[str], bool]:
    """Whether the sentence begins so; a star in the beginning may stand for a word of the sentence."""
    return lambda beginning: re.match(re.escape(beginning).replace(r"\*", ".+?"), sentence) is not None


def test_what_is_left_out_is_there():
    files, sentences = set(trees()), [sentence for file, sentence in errors() if file not in ELSEWHERE]
    assert files >= ELSEWHERE
    assert [one for one in NEVER if not any(pattern_of(sentence)(one) for sentence in sentences)] == []


def test_no_entry_is_dead():
    """Every piece of an entry between its values stands in the source, or is put together there of what does."""
    strings = {
        re.sub(r"\s+", " ", text(node))
        for file, tree in trees().items()
        if "words_" not in file
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr | ast.Constant | ast.BinOp)
    }
    lines = "\n".join(sorted(strings))
    joined = re.compile(
        r"no tokenizer.json or vocab.txt in|the process (was|ended)|%\) are also|a $|a ZIP archive, as|at most$"
        r"|(validation|test) =$|TF-IDF \+ ridge"
    )
    tables = (*TABLES, words_said.PARTS, words_said.DETAILS, words_said.MESSAGES)
    pieces = ((entry, piece.strip(" :.,;()")) for table in tables for entry in table for piece in entry.split("*"))
    assert {entry: piece for entry, piece in pieces if piece not in lines and not joined.match(piece)} == {}


def test_every_value_of_a_sentence_appears_in_its_chinese():
    for table in (*TABLES, words_said.REASONS, words_said.PARTS, words_said.DETAILS, words_said.MESSAGES):
        for sentence, chinese in table.items():
            assert len(re.findall("[*†§]", chinese)) == sentence.count("*"), sentence
            assert re.search("[\u4e00-\u9fff]", chinese), sentence


def test_no_sentence_is_in_two_tables():
    assert len(set().union(*TABLES, words_said.CURES)) == sum(map(len, TABLES)) + len(words_said.CURES)


def test_what_a_run_says_it_does_is_said_in_chinese():
    """The second argument of ``_say``, and what is handed to it as ``say``."""
    found = set()
    for node in (node for file in ("train/loop.py", "train/setup.py") for node in ast.walk(trees()[file])):
        name = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Call) and name in ("_say", "say"):
            given = [part for one in node.args[name == "_say" :] for part in ast.walk(one)]
            whole = [one for one in given if isinstance(one, ast.JoinedStr)] or given
            found |= {text(one) for one in whole if isinstance(one, ast.JoinedStr | ast.Constant)}
    found = {one for one in found if isinstance(one, str) and len(one) > 4}  # without "text", a kind of rows
    assert len(found) > 5
    said = {one: words_said.message(filled(one), "zh") for one in found}
    assert {one: told for one, told in said.items() if not re.search("[\u4e00-\u9fff]", told) or english(told)} == {}
    assert words_said.message("", "zh") == "" and words_said.message("reading", "en") == "reading"


# --- real ones ----------------------------------------------------------------------------------------------------

TEXTS = [f"a sentence number {number} about {number % 7} things" for number in range(40)]


def rows(**columns: Any) -> list[dict[str, Any]]:
    named = {"text": TEXTS, "label": [str(number % 2) for number in range(40)], **columns}
    return [dict(zip(named, values, strict=True)) for values in zip(*named.values(), strict=True)]


def small(name: str, **settings: Any) -> Any:
    return lk.models[name](**settings)


REAL: dict[str, tuple[Callable[[], Any], str]] = {
    "class": (lambda: lk.load(rows(), text="txt"), "没有列 'txt'。是否指 'text'？可用的有：text, label。"),
    "no text": (lambda: lk.load([{"a": 1, "b": 2}] * 9), "没有含文本的列；现有列为 a, b。请在“文本列”中选择"),
    "numbers": (lambda: lk.load(rows(label=np.linspace(0, 1, 40))), "请将“学习目标”设为“一个数值”"),
    "no label": (
        lambda: lk.load(rows(label=[None, *"ab" * 19, "a"])),
        "缺少标签：1 行（共 40 行，属训练集；行号 0）。请将“缺少标签”",
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
    "choice": (lambda: Optimizer(rule="adma"), "“优化器”（Optimizer.rule） = 'adma' 不在可选值之内"),
    "least": (lambda: Training(epochs=0), "“轮数”（Training.epochs） = 0 低于最小值 1。"),
    "setting": (lambda: Training.from_dict({"epoch": 1}), "Training 没有设置 'epoch'。是否指 'epochs'？可用的有："),
    "type": (lambda: Training.from_dict({"epochs": "x"}), "“轮数”（Training.epochs） = 'x' 的类型是 str；应为 int。"),
    "unknown": (lambda: lk.models["berd"], "未知的架构 'berd'。是否指 'bert'？可用的有：bert"),
    "reads": (
        lambda: lk.fit(lk.load(rows()), small("mlp"), folder="lab"),
        "这些数据是文本；MlpConfig 读取的是数值特征。适合文本的架构：",
    ),
    "learns": (
        lambda: lk.fit(lk.load(rows()), small("bert", preset="tiny"), task="regress", folder="lab"),
        "每行数据已知的是一个类别；'regress' 学习的是一个数值。适合它们的任务是 'classify'。",
    ),
    "no model": (lambda: Experiment.from_dict({}), "实验没有指定模型"),
    "weights": (lambda: find("minilm"), "权重 'minilm' 不是示例（"),
    "other weights": (lambda: find("a.bin"), "只打开 safetensors，因为其他格式可能运行代码。"),
    "no export": (lambda: Predictor("folder"), "'folder' 中没有 labkit.toml"),
    "numbers with a word": (lambda: _numbers("1, x", 2), "无法读作数值：'x'：请给出 2 个以逗号分隔的数值。"),
    "no run": (lambda: Store("lab").run("x"), "没有运行 'x'（在 lab 中）"),
    "diverged": (lambda: raised(RunError(str(NotFinite([3, 4])))), "梯度连续 2 步不是有限的数值，最后为第 4 步。"),
    "disk": (
        lambda: raised(unsaved(7, "No space left on device")),
        "第 7 步的检查点未能保存：磁盘空间不足。之前的检查点完好。",
    ),
    "killed": (lambda: raised(RunError(ended(-9))), "进程被 SIGKILL 终止，最多占用内存 2.0 GB。"),
    "ended": (lambda: raised(RunError(ended(3))), "进程以代码 3 结束，最多占用内存 2.0 GB：KeyError: 'x'。"),
}


def leaking() -> lk.Rows:
    found = lk.load(rows())
    part = found["train"]
    return found.with_splits({"train": part, "validation": part.select(range(4)), "test": part.select(range(4))}, [])


def ended(code: int) -> str:
    here: Any = SimpleNamespace(_last_line=lambda index: ": KeyError: 'x'")
    end = Supervisor._ended(here, 0, code, 2_000_000_000, [])
    assert end is not None
    return f"{end.text}."


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
    said = words_said.error(complaint(call), "zh")
    assert wanted in said
    assert english(said.partition(": ")[2], " +") == []  # commas: lists of names


def test_looking_for_sentences_takes_no_time_worth_speaking_of():
    usual = "DataError: the folder 'my folder' holds a.csv, b.csv; it has no split that is known to anybody here."
    pieces = sorted({piece for table in TABLES for one in table for piece in one.split("*") if len(piece) > 2})
    hostile = [
        "* = is not one of . " * 1000,
        " ".join(pieces)[:20_000],
        "a" * 20_000,
        "; or and , " * 2_000,
        " Did you mean " * 1400,
        " " * 20_000,
        "  a (1): row 1 (" + "row 2 (" * 500,
    ]
    for line, most in [(usual, 0.02), *((each, 1.0) for each in hostile), (" = " * 2_000_000, 1.0)]:
        begin = time.perf_counter()
        words_said.error(f"DataError: {line}", "zh")
        assert time.perf_counter() - begin < most, line[:40]
