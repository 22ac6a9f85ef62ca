"""A conversation with a language model as HTML: a bubble a message, every text escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labkit.core import html
from labkit.core.html import Html
from labkit.viz.words import word


def conversation(messages: Sequence[Mapping[str, str]], language: str, writing: bool = False) -> Html:
    """The messages of a conversation.

    Args:
        messages: with ``role`` and ``content``.
        language: of the names of the roles.
        writing: whether the last message is still being generated.
    """
    last = len(messages) - 1
    parts = [_message(each, language, writing and place == last) for place, each in enumerate(messages)]
    return Html(f'<div class="lk-talk" role="log" aria-live="polite">{"".join(parts)}</div>')


def _message(message: Mapping[str, str], language: str, writing: bool) -> Html:
    role, content = message["role"], message["content"]
    told = html.safe(content) if content.strip() else f"<i>{html.safe(word('wrote_no_answer', language))}</i>"
    if writing:
        told = f'{html.safe(content)}<span class="lk-cursor" aria-hidden="true">▍</span>'
    name = html.safe(word(f"role_{role}", language))
    return Html(f'<div class="lk-turn lk-from-{role}"><b>{name}</b><div>{told}</div></div>')
