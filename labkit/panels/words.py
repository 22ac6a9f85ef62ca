"""Every word that panels show, in English and Simplified Chinese: those of runs here, those of the bench beside."""

from __future__ import annotations

import dataclasses
import locale
import os

from labkit.base.errors import ConfigError, nearest
from labkit.panels import words_bench, words_judge
from labkit.panels.words_fields import FIELDS

LANGUAGES = ("en", "zh")

#: key → (English, Simplified Chinese). Places in braces are filled by :func:`word`.
RUNS: dict[str, tuple[str, str]] = {
    # what a run is doing: labkit.train.store.STATUSES
    "created": ("created", "已创建"),
    "preparing": ("preparing", "准备中"),
    "compiling": ("compiling", "编译中"),
    "running": ("running", "训练中"),
    "evaluating": ("evaluating", "评估中"),
    "saving": ("saving", "保存中"),
    "paused": ("paused", "已暂停"),
    "finished": ("finished", "已完成"),
    "stopped": ("stopped", "已停止"),
    "failed": ("failed", "失败"),
    "lost": ("lost", "已失联"),
    # numbers
    "loss": ("Loss", "损失"),
    "f1": ("F1", "F1 值"),
    "accuracy": ("Accuracy", "准确率"),
    "r2": ("R²", "R²"),
    "train": ("train", "训练"),
    "validation": ("validation", "验证"),
    "step": ("step", "步"),
    "steps": ("step {step} of {steps}", "第 {step} / {steps} 步"),
    "epochs": ("epoch {epoch} of {epochs}", "第 {epoch} / {epochs} 轮"),
    "left": ("{time} left", "剩余 {time}"),
    "took": ("took {time}", "用时 {time}"),
    "speed": ("{number} examples/s", "{number} 样本/秒"),
    "compilation": ("1 compilation", "编译 1 次"),
    "compilations": ("{number} compilations", "编译 {number} 次"),
    "skipped": ("{number} updates left out", "跳过 {number} 次更新"),
    "gradient_alarms": ("{number} gradient alarms", "梯度警报 {number} 次"),
    "restarts": ("begun again {number} times", "已重启 {number} 次"),
    "quarantined": ("{number} checkpoints set aside", "搁置的检查点 {number} 个"),
    "unsaved": ("the last checkpoint could not be saved", "最近的检查点未能保存"),
    "rate": ("learning rate {number}", "学习率 {number}"),
    "progress": ("progress of the run", "训练进度"),
    "nothing": ("no numbers yet", "尚无数据"),
    "last": ("{what}: {value} at step {step}", "{what}：第 {step} 步为 {value}"),
    "numbers": ("Numbers", "数据表"),
    # controls
    "pause": ("Pause", "暂停"),
    "resume": ("Resume", "继续"),
    "stop": ("Stop", "停止"),
    "save": ("Save now", "立即保存"),
    "learning_rate": ("Learning rate", "学习率"),
    "set": ("Set", "设置"),
    "pause_help": ("Hold the run before its next step", "在下一步之前暂停"),
    "resume_help": ("Let the run go on", "继续训练"),
    "stop_help": ("End the run before its next step and keep the best model", "在下一步之前结束，并保留最佳模型"),
    "save_help": ("Write a checkpoint before the next step", "在下一步之前写入检查点"),
    "set_help": ("The greatest learning rate from the next step on", "从下一步起的最大学习率"),
    "asked": ("asked to {what}; it takes effect at the next step", "已请求“{what}”，下一步生效"),
    "not_a_number": (
        "{value} is not a learning rate. Give a number of 0 or more, such as 2e-5.",
        "{value} 不是学习率。请输入不小于 0 的数，例如 2e-5。",
    ),
    # errors and code
    "cure": ("What to do", "解决办法"),
    "traceback": ("Traceback", "错误堆栈"),
    "run_id": ("run", "运行编号"),
    "code": ("Code that reproduces this run", "可重现本次运行的代码"),
    "python": ("Python", "Python"),
    "toml": ("Experiment file, for `labkit train`", "实验文件，用于 `labkit train`"),
    # exercises of the course: labkit.lesson
    "exercise_waiting": ("{name}: waiting for your answer", "{name}：等待你的答案"),
    "exercise_right": ("{name}: right ✓", "{name}：正确 ✓"),
    "exercise_wrong": ("{name}: not yet. {what} Hint: {hint}", "{name}：还不对。{what} 提示：{hint}"),
    "placeholder": ("run {name}: `run.show()` shows its panel", "运行 {name}：`run.show()` 可显示面板"),
}
TABLE = {**RUNS, **words_bench.TABLE, **words_judge.TABLE}


_chosen: str | None = None


def choose(name: str | None = None) -> str:
    """Choose the language of panels that are opened from now on, and return it: "en" or "zh".

    Without a name nothing changes. It is :func:`labkit.language`.

    Raises:
        ConfigError: there is no table for this language.
    """
    global _chosen
    if name is not None:
        _chosen = language(name)
    return language()


def language(name: str | None = None) -> str:
    """The language of panels: ``name``, else the one chosen, else LABKIT_LANGUAGE, else Chinese in a notebook that is
    called NAME.zh.ipynb, else the locale's if there is a table for it.

    Raises:
        ConfigError: a language was named that there is no table for.
    """
    asked = name or _chosen or os.environ.get("LABKIT_LANGUAGE")
    if asked:
        short = asked.replace("_", "-").lower().split("-")[0]
        if short not in LANGUAGES:
            raise ConfigError(f"no words in language {asked!r}; there are {', '.join(LANGUAGES)}.")
        return short
    if os.environ.get("JPY_SESSION_NAME", "").endswith(".zh.ipynb"):  # the notebook's path, as Jupyter tells its kernel
        return "zh"
    known = os.environ.get("LC_ALL") or os.environ.get("LANG") or locale.getlocale()[0] or ""
    return "zh" if known.lower().startswith(("zh", "chinese")) else "en"


def word(key: str, language: str = "en", **places: object) -> str:
    """The words of ``key`` in a language, with its places filled. Plain text: escape before it becomes HTML."""
    if key not in TABLE:
        raise KeyError(f"no words for {key!r}.{nearest(key, TABLE)}")
    return TABLE[key][LANGUAGES.index(language)].format(**places)


def title_of(noun: str, name: str, language: str = "en") -> str:
    """What a registered ``noun`` ("task", "model") is called; one of a user's own by its name."""
    return word(f"{noun}_{name}", language) if f"{noun}_{name}" in TABLE else name.replace("_", " ")


def label_of(field: str, language: str = "en") -> str:
    """What a setting is called."""
    return FIELDS[field][LANGUAGES.index(language)] if field in FIELDS else field.replace("_", " ")


def help_of(field: dataclasses.Field, language: str = "en") -> str:
    """What a setting does, in a sentence: in English as its config says it."""
    return FIELDS[field.name][2] if language == "zh" and field.name in FIELDS else field.metadata.get("help", "")
