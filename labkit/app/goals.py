"""Goals of the step Data: what each needs of a table, which one fits, and the arguments of :func:`labkit.load`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from labkit.data.columns import LABEL, TEXT

#: Goal → (columns to choose, task). The task of labels is chosen by their kind.
GOALS: dict[str, tuple[tuple[str, ...], str]] = {
    "classify": (("inputs", "text", "label"), "classify"),
    "labels": (("inputs", "text", "label", "separator"), "multilabel"),
    "number": (("inputs", "text", "label"), "regress"),
    "compare": (("text", "pair", "label"), "embed"),
    "answer": (("text", "pair", "answer"), "qa"),
    "generate": (("text",), "lm"),
    "translate": (("text", "pair"), "seq2seq"),
}
#: Usual names of columns, in lower case.
QUESTION = ("question", "query", "问题")
PARAGRAPH = ("context", "paragraph", "passage", "段落", "上下文", "文章")
ANSWER = ("answer", "answers", "答案")
PAIRS = (
    ("question1", "question2"),
    ("sentence1", "sentence2"),
    ("sentence_a", "sentence_b"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("premise", "hypothesis"),
    ("句子1", "句子2"),
)
TRANSLATIONS = (
    ("source", "target"),
    ("src", "tgt"),
    ("en", "zh"),
    ("english", "chinese"),
    ("原文", "译文"),
    ("英文", "中文"),
    ("article", "summary"),
    ("input", "output"),
)
#: Words in the name of a column that is usually predicted from the others.
TARGETS = ("price", "target", "outcome", "cost", "salary", "income", "revenue", "sales", "churn", "default", "score",
           "rating", "价格", "房价", "销量", "结果", "得分", "评分")  # fmt: skip
#: Rows that are looked at.
LOOKED_AT = 500
#: Most classes of a label that is guessed; a column of more different numbers is a number to predict.
CLASSES = 20


@dataclass(frozen=True)
class Chosen:
    """A goal with its columns; "" for a column that is not chosen.

    Attributes:
        goal: a key of :data:`GOALS`.
        features: whether the columns of the table are the input, instead of a text.
        label: the label, or the number to predict; False for none.
    """

    goal: str = "classify"
    text: str = ""
    pair: str = ""
    label: str | bool = ""
    answer: str = ""
    features: bool = False
    separator: str = ""

    @property
    def controls(self) -> tuple[str, ...]:
        """The columns that there are to choose."""
        shown = GOALS[self.goal][0]
        return tuple(name for name in shown if name != "text" or not (self.features and "inputs" in shown))

    def options(self) -> dict[str, Any]:
        """Arguments of :func:`labkit.load`; nothing for what is left to detection."""
        shown, given = GOALS[self.goal][0], dict[str, Any]()
        if "inputs" in shown and self.features:
            given["features"] = True
        elif self.text:
            given["text"] = (self.text, self.pair) if "pair" in shown and self.pair else self.text
        if "answer" in shown:
            return given | ({"answer": self.answer} if self.answer else {"label": False})
        if "label" not in shown:
            return given | {"label": False}
        if self.label != "":
            given["number" if self.goal == "number" and self.label else "label"] = self.label
        if self.goal == "labels" and self.separator.strip():
            given["separator"] = self.separator
        return given

    def task(self, labelled: bool) -> str:
        """The task to learn, for rows with a label or without one."""
        return "classify" if self.goal == "compare" and labelled else GOALS[self.goal][1]


def of_options(options: Mapping[str, Any], task: str = "") -> Chosen:
    """The goal and columns that arguments of :func:`labkit.load`, and a task, stand for."""
    text = options.get("text", "")
    text, pair = (text, "") if isinstance(text, str) else (*text, "")[:2]
    label, number, answer = (_one(options.get(name, "")) for name in ("label", "number", "answer"))
    if answer:
        goal = "answer"
    elif number:
        goal = "number"
    elif options.get("separator"):
        goal = "labels"
    elif pair:
        goal = {"qa": "answer", "seq2seq": "translate"}.get(task, "compare")
    else:
        goal = "generate" if label is False else "classify"
    return Chosen(
        goal, text, pair, number or label, answer, bool(options.get("features")), options.get("separator", "")
    )


def _one(value: object) -> Any:
    """A column, also one in a list; "" for several, which the panel does not choose."""
    alone = value[0] if isinstance(value, list | tuple) and len(value) == 1 else value
    return alone if isinstance(alone, str | bool) else ""


def guess(columns: Mapping[str, Sequence[Any]]) -> Chosen:
    """The goal that a table fits best, by the names of its columns and its first rows."""
    names = {name.casefold(): name for name in columns}
    first = lambda known: next((names[each] for each in known if each in names), "")  # noqa: E731
    question, paragraph, answer = first(QUESTION), first(PARAGRAPH), first(ANSWER)
    label = first(LABEL)
    if question and paragraph and answer:
        return Chosen("answer", question, paragraph, answer=answer)
    for pairs, goal in ((PAIRS, "compare"), (TRANSLATIONS, "translate")):
        for one, other in pairs:
            if one in names and other in names and _is_text(columns[names[other]]):
                rest = {name: columns[name] for name in columns if name not in (names[one], names[other])}
                named = (label or _class_column(rest) or False) if goal == "compare" else False
                return Chosen(goal, names[one], names[other], named)
    text = first(TEXT) or _longest_text({name: columns[name] for name in columns if name != label})
    rest = {name: values for name, values in columns.items() if name != text}
    label = label or (_class_column(rest) or _named_target(rest) if text else _target(rest))
    if not label:
        return Chosen("generate", text, label=False)
    few = len(set(map(str, columns[label]))) <= CLASSES
    if _are_numbers(columns[label]) and not few:
        return Chosen("number", text, label=label, features=not text)
    if (separator := _separator(columns[label])) is not None:
        return Chosen("labels", text, label=label, features=not text, separator=separator)
    return Chosen("classify", text, label=label, features=not text)


def for_goal(goal: str, columns: Mapping[str, Sequence[Any]], before: Chosen | None = None) -> Chosen:
    """Columns for a goal that a person chose: those of ``before`` where they fit, else those that fit best."""
    found, kept = guess(columns), {}
    if found.goal != goal:
        found = _fitting(goal, columns, found)
    if before is not None and "inputs" in GOALS[goal][0] and isinstance(before.label, str) and before.label:
        if goal != "number" or _are_numbers(columns[before.label]):
            kept = {
                "label": before.label,
                "separator": (goal == "labels" and _separator(columns[before.label])) or "",
            }
        if before.text and not before.features:
            kept |= {"text": before.text, "features": False}
    return replace(found, **kept)


def _fitting(goal: str, columns: Mapping[str, Sequence[Any]], found: Chosen) -> Chosen:
    """Columns for another goal than the one that was guessed."""
    texts = [name for name, values in columns.items() if _is_text(values)]
    if "pair" in GOALS[goal][0]:
        one, other = found.text, found.pair
        texts = [name for name in texts if name not in (one, other)]
        one = one or (texts.pop(0) if texts else "")
        other = other or (texts.pop(0) if texts else "")
        label = found.label if goal == "compare" and found.label != other else False
        answer = next((name for name in columns if name not in (one, other)), "")
        return Chosen(goal, one, other, label, answer if goal == "answer" else "")
    if goal == "generate":
        return Chosen(goal, found.text or next(iter(texts), ""), label=False)
    label = found.label
    if goal == "number" and not (isinstance(label, str) and label and _are_numbers(columns[label])):
        numeric = (name for name in reversed(columns) if name != found.text and _are_numbers(columns[name]))
        label = next(numeric, "")
    elif label is False:
        label = ""
    separator = (
        (_separator(columns[label]) or "") if goal == "labels" and isinstance(label, str) and label else ""
    )
    return replace(found, goal=goal, pair="", label=label, answer="", separator=separator)


def _filled(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if value is not None and str(value).strip()]


def _are_numbers(values: Sequence[Any]) -> bool:
    """Whether nearly all are numbers, also ones written as text with a decimal comma."""
    there = _filled(values)
    read = 0
    for value in there:
        try:
            float(str(value).replace(",", "."))
        except ValueError:
            continue
        read += 1
    return bool(there) and read >= 0.9 * len(there)


def _length(values: Sequence[Any]) -> float:
    """Mean length of texts; 0 for other values."""
    there = _filled(values)
    if not there or not all(isinstance(value, str) for value in there) or _are_numbers(values):
        return 0.0
    return sum(map(len, there)) / len(there)


def _is_text(values: Sequence[Any]) -> bool:
    """Whether these are texts of several words, and not names of categories or dates."""
    there = _filled(values)
    different = len(set(map(str, there))) > 0.3 * len(there)
    several = sum(len(str(value).split()) > 2 or not str(value).isascii() for value in there)
    return different and _length(values) > 3 and several >= 0.5 * len(there)


def _longest_text(columns: Mapping[str, Sequence[Any]]) -> str:
    texts = [name for name, values in columns.items() if _is_text(values)]
    return max(texts, key=lambda name: _length(columns[name]), default="")


def _class_column(columns: Mapping[str, Sequence[Any]]) -> str:
    """The column of the fewest values that repeat: words before numbers."""
    found = []
    for place, (name, values) in enumerate(columns.items()):
        there = _filled(values)
        different = len(set(map(str, there)))
        if 2 <= different <= min(50, len(there) // 2):
            found.append((_are_numbers(values), different, place, name))
    return min(found)[-1] if found else ""


def _named_target(columns: Mapping[str, Sequence[Any]]) -> str:
    """The first column whose name has a word of :data:`TARGETS`."""
    words = {name: set(re.split(r"[\W_]+", name.casefold())) for name in columns}
    return next((name for name in columns if words[name] & set(TARGETS)), "")


def _target(columns: Mapping[str, Sequence[Any]]) -> str:
    """The column of a table to predict: by its name, else the last one."""
    return _named_target(columns) or next(reversed(columns), "")


def _separator(values: Sequence[Any]) -> str | None:
    """What separates several labels in a cell, "" for lists; None where there is one label a cell."""
    there = _filled(values)
    if any(isinstance(value, list | tuple) or str(value).startswith("[") for value in there):
        return ""
    texts = list(map(str, there))
    for separator in (";", "|", ","):
        parts = {part.strip() for text in texts for part in text.split(separator)}
        several = sum(separator in text for text in texts) > 0.2 * len(texts)
        if several and (separator != "," or len(parts) < len(set(texts))):  # "Paris, France" is one label
            return separator
    return None
