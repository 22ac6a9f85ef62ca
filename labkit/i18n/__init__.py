"""Internationalisation: gettext catalogues, and messages that are translated when shown.

 Code marks its English with :func:`_` and names the parameters; a panel asks :func:`translate` for its
language::

    raise DataError(_("{file} has no column {column!r}."), file=path.name, column=name)
    translate(error.message, "zh")

The catalogues are ``locale/<language>/LC_MESSAGES/labkit.po`` (and ``.mo``, which is what is read).
"""

from __future__ import annotations

from labkit.i18n.catalogue import LANGUAGES, translate
from labkit.i18n.message import Message, _, joined, ngettext, pgettext, plain, revive

__all__ = ["LANGUAGES", "Message", "_", "joined", "ngettext", "pgettext", "plain", "revive", "translate"]
