"""Goals of the step Data: what each needs of a table, which one fits, and the arguments of :func:`labkit.load`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from labkit.data.cells import date_in
from labkit.data.columns import LABEL, TEXT
from labkit.data.conversations import NAMES as CONVERSATIONS
from labkit.data.conversations import PROMPTS, is_conversation
from labkit.data.io.media import SOUNDS
from labkit.data.tags import NAMES, WORDS
from labkit.data.transcripts import NAMES as TRANSCRIPTS
from labkit.tasks import tasks

#: Goal → (columns to choose, task). The task of labels is chosen by their kind.
GOALS: dict[str, tuple[tuple[str, ...], str]] = {
    "classify": (("inputs", "text", "label"), "classify"),
    "labels": (("inputs", "text", "label", "separator"), "multilabel"),
    "number": (("inputs", "text", "label"), "regress"),
    "compare": (("text", "pair", "label"), "embed"),
    "answer": (("text", "pair", "answer"), "qa"),
    "tag": (("text", "tags"), "tag"),
    "generate": (("text",), "lm"),
    "instruct": (("text", "pair", "messages"), "instruct"),
    "translate": (("text", "pair"), "seq2seq"),
    "transcribe": (("transcript",), "asr"),
    "forecast": (("time", "label", "series"), "forecast"),
    "recommend": (("user", "item", "time", "titles"), "recommend"),
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
#: Usual names of columns of times.
TIMES = ("time", "date", "datetime", "timestamp", "ds", "时间", "日期")
#: Usual names of the columns of interactions.
USERS = ("user", "user_id", "userid", "customer", "customer_id", "用户", "客户")
ITEMS = (
    "item",
    "item_id",
    "itemid",
    "movie",
    "movie_id",
    "movieid",
    "product",
    "product_id",
    "商品",
    "电影",
    "物品",
)
TITLES = ("title", "name", "标题", "名称")
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
    tags: str = ""
    transcript: str = ""
    features: bool = False
    separator: str = ""
    time: str = ""
    series: str = ""
    messages: str = ""
    user: str = ""
    item: str = ""
    titles: str = ""

    @property
    def controls(self) -> tuple[str, ...]:
        """The columns that there are to choose."""
        shown = GOALS[self.goal][0]
        return tuple(name for name in shown if name != "text" or not (self.features and "inputs" in shown))

    def options(self) -> dict[str, Any]:
        """Arguments of :func:`labkit.load`; nothing for what is left to detection."""
        shown, given = GOALS[self.goal][0], dict[str, Any]()
        if "user" in shown:
            named = {"user": self.user, "item": self.item, "time": self.time, "title": self.titles}
            return {name: value for name, value in named.items() if value}
        if "time" in shown:
            named = {"time": self.time, "number": self.label, "series": self.series}
            return {name: value for name, value in named.items() if value}
        if "messages" in shown and self.messages:
            return {"messages": self.messages}
        if "transcript" in shown:
            return {"transcript": self.transcript} if self.transcript else {}
        if "inputs" in shown and self.features:
            given["features"] = True
        elif self.text:
            given["text"] = (self.text, self.pair) if "pair" in shown and self.pair else self.text
        if "tags" in shown:
            return given | ({"tags": self.tags} if self.tags else {"label": False})
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
    if options.get("user"):
        columns = {name: options.get(name, "") for name in ("user", "item", "time")}
        return Chosen("recommend", label=False, titles=options.get("title", ""), **columns)
    if options.get("time"):
        return Chosen("forecast", label=number, time=options["time"], series=options.get("series", ""))
    if options.get("messages"):
        return Chosen("instruct", label=False, messages=options["messages"])
    if options.get("transcript") or (task and tasks[task].needs_transcripts):
        return Chosen("transcribe", label=False, transcript=options.get("transcript", ""))
    tags = options.get("tags", "")
    if tags:
        goal = "tag"
    elif answer:
        goal = "answer"
    elif number:
        goal = "number"
    elif options.get("separator"):
        goal = "labels"
    elif pair:
        goal = {"qa": "answer", "seq2seq": "translate", "instruct": "instruct"}.get(task, "compare")
    else:
        goal = "generate" if label is False else "classify"
    return Chosen(
        goal,
        text,
        pair,
        number or label,
        answer,
        tags,
        features=bool(options.get("features")),
        separator=options.get("separator", ""),
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
    if any(map(_are_sounds, columns.values())) and (spoken := first((*TRANSCRIPTS, *TEXT)) or _said(columns)):
        return Chosen("transcribe", label=False, transcript=spoken)
    if (words := first(WORDS)) and (tags := first(NAMES)) and _are_lists(columns[words], columns[tags]):
        return Chosen("tag", words, label=False, tags=tags)
    talks = first(CONVERSATIONS)
    if talks and all(map(is_conversation, columns[talks])):
        return Chosen("instruct", label=False, messages=talks)
    for prompt, response in PROMPTS:
        if prompt in names and response in names:
            return Chosen("instruct", names[prompt], names[response], False)
    user, item, when = first(USERS), first(ITEMS), first(TIMES)
    if user and item and when:
        return Chosen("recommend", label=False, user=user, item=item, time=when, titles=first(TITLES))
    if question and paragraph and answer:
        return Chosen("answer", question, paragraph, answer=answer)
    for pairs, goal in ((PAIRS, "compare"), (TRANSLATIONS, "translate")):
        for one, other in pairs:
            if one in names and other in names and _is_text(columns[names[other]]):
                rest = {name: columns[name] for name in columns if name not in (names[one], names[other])}
                named = (label or _class_column(rest) or False) if goal == "compare" else False
                return Chosen(goal, names[one], names[other], named)
    if not label and (time := first(TIMES)) and _ascending(columns[time]):
        numbers = [name for name, values in columns.items() if name != time and _are_numbers(values)]
        if numbers and not any(map(_is_text, columns.values())):
            rest = {name: columns[name] for name in numbers}
            return Chosen("forecast", label=_named_target(rest) or numbers[-1], time=time)
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
    if "tags" in GOALS[goal][0]:
        lists = [name for name, values in columns.items() if any(isinstance(value, list) for value in values)]
        words, tags = (*lists, "", "")[:2]
        return Chosen(goal, words or found.text, label=False, tags=tags)
    if "user" in GOALS[goal][0]:
        low = {name.casefold(): name for name in columns}
        chosen = {
            key: next((low[name] for name in known if name in low), "")
            for key, known in (("user", USERS), ("item", ITEMS), ("time", TIMES), ("titles", TITLES))
        }
        return Chosen(goal, label=False, **chosen)
    if "transcript" in GOALS[goal][0]:
        sounds = [name for name, values in columns.items() if _are_sounds(values)]
        return Chosen(goal, label=False, transcript=next((name for name in texts if name not in sounds), ""))
    if "time" in GOALS[goal][0]:
        named = next((name for name in columns if name.casefold() in TIMES), "")
        time = named or next((name for name, values in columns.items() if _ascending(values)), "")
        numbers = {name: columns[name] for name in columns if name != time and _are_numbers(columns[name])}
        return Chosen(goal, label=_named_target(numbers) or next(reversed(numbers), ""), time=time)
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


def _are_lists(words: Sequence[Any], tags: Sequence[Any]) -> bool:
    """Whether each row has lists of equal length."""
    return all(
        isinstance(one, list) and isinstance(other, list) and len(one) == len(other)
        for one, other in zip(words, tags, strict=True)
    )


def _are_sounds(values: Sequence[Any]) -> bool:
    """Whether these are names of sound files."""
    there = [str(value).strip().casefold() for value in _filled(values)]
    return bool(there) and all(value.endswith(SOUNDS) for value in there)


def _said(columns: Mapping[str, Sequence[Any]]) -> str:
    """The first column of words that are mostly different, no names of sounds, numbers or dates; "" without one."""
    for name, values in columns.items():
        words = [value for value in values if isinstance(value, str) and any(map(str.isalpha, value))]
        different = 2 * len(set(words)) > len(values)
        if words and different and not (_are_sounds(values) or _are_numbers(values) or _ascending(values)):
            return name
    return ""


def _ascending(values: Sequence[Any]) -> bool:
    """Whether these are dates, each after the one before."""
    there = [value if isinstance(value, str) else str(value) for value in _filled(values)]
    read = [date_in(value.strip()) for value in there]
    found = [date[0] for date in read if date is not None]
    return len(found) > 2 and len(found) == len(values) and all(a < b for a, b in pairwise(found))


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
