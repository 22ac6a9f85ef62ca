"""What a caller gives to a trained model, checked before the model reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from labkit.base.errors import DataError


def texts_of(given: Sequence[Any], noun: str) -> list[str]:
    """Texts as a list of strings; ``noun`` is what one of them is.

    Raises:
        DataError: one is missing or is no text.
    """
    texts = list(given)
    for number, text in enumerate(texts):
        if text is None or text != text:
            raise DataError(f"{noun} {number} is missing.")
        if not isinstance(text, str):
            raise DataError(f"{noun} {number} is {text!r}, a {type(text).__name__}; a text is needed.")
    return texts
