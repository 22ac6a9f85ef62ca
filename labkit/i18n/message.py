"""Translatable messages: texts with msgid and parameters."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable
from typing import Any

#: Keys of a message in JSON.
_KEYS = frozenset(("text", "msgid", "params", "plural", "context", "joined"))


class Message(str):
    """An English text that keeps its msgid and parameters, so that it can be shown in another language later.

    It is a ``str``: comparing, hashing and printing are those of the English text. Without parameters the
    msgid is the text; with parameters it is a format string of :meth:`str.format`. A parameter may itself be
    a message.

    Args:
        msgid: the English text, with a named placeholder for each parameter.
        params: the parameters.
        plural: the English text where ``params["n"]`` is not 1.
        context: distinguishes equal English texts of different meanings.
        joined: the msgid is a separator, and the parameters are what it joins.
        text: the English text where it is known already, or differs.
    """

    msgid: str
    params: dict[str, Any]
    plural: str
    context: str
    joined: bool

    def __new__(
        cls,
        msgid: str,
        params: dict[str, Any] | None = None,
        *,
        plural: str = "",
        context: str = "",
        joined: bool = False,
        text: str | None = None,
    ) -> Message:
        msgid, given = str(msgid), params or {}
        if text is None:
            text = filled(plural if plural and given.get("n", 1) != 1 else msgid, given, joined)
        self = super().__new__(cls, text)
        self.msgid, self.plural, self.context, self.joined = msgid, plural, context, joined
        self.params = {name: _kept(value) for name, value in given.items()}
        return self

    def fill(self, /, **params: object) -> Message:
        """This message with these parameters."""
        return Message(self.msgid, params, plural=self.plural, context=self.context)

    def map(self, change: Callable[[str], str]) -> Message:
        """This message with ``change`` made to its text and to each parameter that is a text."""
        params = {
            name: change(value) if isinstance(value, str) else value for name, value in self.params.items()
        }
        return _revived(change(str(self)), self.msgid, params, self.plural, self.context, self.joined)

    def __reduce__(self) -> tuple[Any, ...]:
        return _revived, (str(self), self.msgid, self.params, self.plural, self.context, self.joined)


class Shown:
    """A parameter that JSON cannot hold, by its ``str`` and its ``repr``."""

    def __init__(self, text: str, code: str):
        self.text, self.code = text, code

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.code

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shown) and (self.text, self.code) == (other.text, other.code)

    __hash__ = None  # type: ignore[assignment]


def _(msgid: str, /, **params: object) -> Message:
    """Mark ``msgid`` for translation; with parameters, the message that they fill."""
    return Message(msgid, params)


def ngettext(singular: str, plural: str, n: int | None = None, /, **params: object) -> Message:
    """A message that depends on a number, which is its parameter ``n``; left out, :meth:`Message.fill` gives
    it."""
    return Message(singular, params if n is None else {"n": n, **params}, plural=plural)


def pgettext(context: str, msgid: str, /, **params: object) -> Message:
    """A message whose English alone has several meanings."""
    return Message(msgid, params, context=context)


def joined(separator: str, parts: Iterable[str]) -> Message:
    """``separator.join(parts)``, of which the separator and each part are translated."""
    return Message(separator, {str(number): part for number, part in enumerate(parts)}, joined=True)


def filled(msgid: str, params: dict[str, Any], joined: bool = False) -> str:
    """A text with its parameters in it."""
    if joined:
        return msgid.join(map(str, params.values()))
    return msgid.format(**params) if params else msgid


def plain(value: object) -> Any:
    """``value`` with each message in it as a dict for JSON: text, msgid and parameters."""
    if isinstance(value, Message):
        told = {"text": str(value), "msgid": value.msgid, "params": plain(value.params)}
        return told | {key: part for key in ("plural", "context", "joined") if (part := getattr(value, key))}
    if isinstance(value, Shown):
        return {"str": value.text, "repr": value.code}
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list | tuple) else value


def revive(value: object) -> Any:
    """The inverse of :func:`plain`."""
    if isinstance(value, list):
        return [revive(part) for part in value]
    if not isinstance(value, dict):
        return value
    value = {key: revive(part) for key, part in value.items()}
    if value.keys() == {"str", "repr"}:
        return Shown(str(value["str"]), str(value["repr"]))
    if not {"text", "msgid", "params"} <= value.keys() <= _KEYS:
        return value
    names = ("text", "msgid", "plural", "context")
    known = all(isinstance(value.get(name, ""), str) for name in names) and isinstance(value["params"], dict)
    return _revived(**value) if known else value


def _revived(
    text: str, msgid: str, params: dict[str, Any], plural: str = "", context: str = "", joined: bool = False
) -> Message:
    return Message(msgid, params, plural=plural, context=context, joined=joined, text=text)


def _kept(value: object) -> Any:
    """A parameter as it is kept: what is neither text nor number by how it is written, an error by its
    message."""
    if isinstance(value, BaseException) and isinstance(message := getattr(value, "message", None), Message):
        return message
    if value is None or isinstance(value, Shown | str | bool | int | float):
        return value.item() if hasattr(value, "item") else value  # type: ignore[union-attr]
    if isinstance(value, numbers.Number) and hasattr(value, "item"):  # of NumPy
        return value.item()
    return Shown(str(value), repr(value))
