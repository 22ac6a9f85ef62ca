"""Safe display of untrusted text: invisible characters written out, HTML escaped.

This is the only place that escapes; whatever draws asks here.
"""

from __future__ import annotations

import html
import re

from labkit.i18n import Message

# C0 and C1 controls, soft hyphen, zero-width and bidirectional characters, line separators, lone surrogates,
# tags
HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)


def visible(text: str, limit: int | None = None) -> str:
    """``text`` for the eye: what would not show, or would reorder what shows, is written out; cut at
    ``limit``.

    Controls become their Unicode pictures (NUL is ``␀``), other hidden characters ``\\u202e``. This is not
    HTML
    escaping: pass the result through :func:`escape` before it goes into a page.
    """
    if isinstance(text, Message):
        return text.map(lambda part: visible(part, limit))
    if limit is not None and len(text) > limit:
        text = text[:limit] + "…"
    return HIDDEN.sub(lambda found: _shown(found.group()), text)


def _shown(char: str) -> str:
    code = ord(char)
    if code < 0x20 or code == 0x7F:
        return chr(0x2421 if code == 0x7F else 0x2400 + code)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def one_line(text: str, limit: int | None = None) -> str:
    """The same on a single line: its white space becomes spaces."""
    cut = text if limit is None or len(text) <= limit else text[: limit - 1] + "…"
    return visible(re.sub(r"[\t\n\r]", " ", cut))


def printed(text: object) -> str:
    """``text`` for a terminal: no character that it would obey; lines and tabs stay."""
    return HIDDEN.sub(lambda found: found[0] if found[0] in "\n\t" else _shown(found[0]), str(text))


def escape(text: object) -> str:
    """``text`` as HTML that shows it, between tags and inside quoted attributes; what hides is written out."""
    return html.escape(
        HIDDEN.sub(lambda found: found[0] if found[0] in "\n\r\t" else _shown(found[0]), str(text))
    )
