"""Text cleaning: a pipeline of named steps, saved with the model and applied at prediction.

 Every step is idempotent for every ``str``, lone surrogates included. A :class:`TextCleaner` is a config: it
goes to TOML and back, cleans one text when called, and a whole ``Rows`` with :meth:`TextCleaner.apply`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from html import unescape
from html.entities import html5
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labkit.core.cache import cache_dir, fingerprint
from labkit.core.config import Config, option
from labkit.core.errors import ConfigError, DataError, nearest
from labkit.data import memmap
from labkit.data.arrow import batches, column, text_columns
from labkit.data.dataset import SplitDataset, Table
from labkit.data.prepare import pii
from labkit.data.recipe import recorded
from labkit.data.report import Note, Report, visible
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets import Dataset

# --- the steps ---------------------------------------------------------------------------------------------------

_SURROGATE = re.compile("[\ud800-\udfff]")


def _whole(text: str) -> str:
    """Surrogate pairs joined to their character, lone surrogates made U+FFFD."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _unicode(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", _whole(text))


def _compat(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", _whole(text))


# A scanner of our own, not html.parser: that one differs between patch releases of Python (the newer lose the
# text after an unclosed "<b"), fails on "<![x" and takes "<me@x.org>" for a tag. Each alternative stops at
# the next "<", so the time is linear in the length; comments and scripts are cut when their end is found, not
# searched for.
_MARKUP = re.compile(
    r"<!--+>|<!--|-->"
    r"|<[!?](?!\[CDATA)[A-Za-z\[][^<>]*>"
    r"""|<(?P<close>/?)(?P<name>[A-Za-z][A-Za-z0-9]*)"""
    r"""(?:[\s/](?:[^<>=]++|=\s*+"[^"]{0,4096}"|=\s*+'[^']{0,4096}'|=)*+)?>"""
)
_BREAKS = frozenset(
    """
    address article aside blockquote body br caption center dd details dialog dir div dl dt fieldset figcaption
    figure footer form frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html legend li main menu nav noframes ol
    optgroup option p pre search section select summary table tbody textarea tfoot thead title tr ul
    """.split()  # noqa: SIM905
)
_INLINE = frozenset(
    """
    a abbr acronym applet area audio b base basefont bdi bdo bgsound big blink button canvas cite code col
    colgroup data datalist del dfn em embed font frame i iframe img input ins kbd label link map mark marquee
    math meta meter nobr noembed noscript object output param picture progress q rp rt ruby s samp script slot
    small source span strike strong style sub sup svg td template th time track tt u var video wbr
    """.split()  # noqa: SIM905
)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_LAYERS = 10


def _html(text: str) -> str:
    """Rendered text. Again until nothing changes, because scraped text is often escaped twice
    (``&amp;quot;``)."""
    for _unused in range(_LAYERS):
        if "<" not in text and "&" not in text:
            return text
        plain = _ENTITY.sub(_entity, _without_tags(text))
        if plain == text:
            return text
        text = plain
    return text.replace("<", "").replace("&", "")  # markup in ten layers is an attack on the loop, not a text


def _entity(match: re.Match[str]) -> str:
    # Only with its semicolon: "?a=1&copy=2" is an address, not a copyright sign.
    found = match.group()
    return unescape(found) if found[1] == "#" or found[1:] in html5 else found


def _without_tags(text: str) -> str:
    kept: list[str] = []
    opened: dict[str, int] = {}  # what may be cut out whole → how much of `kept` was there when it began
    end = 0
    for match in _MARKUP.finditer(text):
        kept.append(text[end : match.start()])
        end = match.end()
        token, name = match.group(), (match["name"] or "").lower()
        ends = name if match["close"] else ""
        if token == "-->":
            ends = "comment"
        if ends in opened:
            start = opened[ends]
            del kept[start:]
            opened = {what: at for what, at in opened.items() if at < start}
            continue
        if token == "<!--" or name in ("script", "style"):
            opened.setdefault(name or "comment", len(kept))
        kept.append(_replacement(token, name))
    return "".join([*kept, text[end:]])


def _replacement(token: str, name: str) -> str:
    if not name:
        return token if token in ("<!--", "-->") else ""  # an end without a beginning is an arrow
    if name in _BREAKS:
        return "\n"
    if name in _INLINE:
        return " " if name in ("td", "th") else ""
    return token  # not an element of HTML: "if x<y and y>z"


_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # colour codes of terminals
_CONTROL = {code: None for code in (*range(32), *range(127, 160)) if code not in (9, 10)}
_CONTROL |= {code: "\n" for code in (11, 12, 13, 0x85)} | {code: " " for code in range(0x1C, 0x20)}


def _control(text: str) -> str:
    if text.isprintable():
        return text
    return _TERMINAL.sub("", text.replace("\r\n", "\n")).translate(_CONTROL)


# Scripts that write with joiners (Arabic to Sinhala, Myanmar, Mongolian …), and those that break words by
# U+200B.
_JOINING = (
    "\u0600-\u085f\u08a0-\u0dff\u0f00-\u109f\u1780-\u18af\u1b00-\u1bff\ua840-\uaaff\ufb50-\ufdff\ufe70-\ufefe"
)
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_EMOJI = "\xa9\xae\u2122\u2139-\u21ff\u2300-\u23ff\u25aa-\u27bf\u2900-\u2bff\U0001f000-\U0001faff"
_ZERO_WIDTH = re.compile(
    "(?P<keep>\U0001f3f4[\U000e0020-\U000e007e]{1,8}\U000e007f"  # the flags of England, Scotland, Wales
    f"|(?<=[{_SPACELESS}])\u200b|(?<=[{_JOINING}])[\u200c\u200d]|(?<=[{_EMOJI}\ufe0f])\u200d(?=[{_EMOJI}]))"
    "|[\xad\u200b-\u200d\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0001\U000e0020-\U000e007f]"
)


def _zero_width(text: str) -> str:
    return text if text.isascii() else _ZERO_WIDTH.sub(lambda match: match["keep"] or "", text)


_BIDI = dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])


def _bidi(text: str) -> str:
    return text if text.isascii() else text.translate(_BIDI)


def _whitespace(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(filter(None, lines))


_URL = re.compile(
    r"(?ai:(?<![a-z0-9])(?:(?:https?|ftp)://|www\.)(?=[a-z0-9\[])[a-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+)"
)
_URL_TAIL = ".,;:!?'*~_)]"
# Whole runs of address characters are checked, so that what is left of one cannot become a part of another.
_ADDRESS_RUN = re.compile(r"[A-Za-z0-9._%+@-]+")
_ADDRESS = re.compile(r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}")
# Not after a letter of an alphabet (MP3, covid19), but after a Chinese character (第3章).
_NUMBER = re.compile(r"(?<![A-Za-z\u00c0-\u024f\u0370-\u052f\d])(?<!\d[.,:/-])\d+(?:[.,:/-]\d+)*")


def _urls(text: str, mask: str = "URL") -> str:
    return _URL.sub(lambda match: mask + match.group()[len(match.group().rstrip(_URL_TAIL)) :], text)


def _emails(text: str, mask: str = "EMAIL") -> str:
    def checked(match: re.Match[str]) -> str:
        run = match.group()
        core = run.strip("._%+-")
        return run.replace(core, mask, 1) if _ADDRESS.fullmatch(core) else run

    return _ADDRESS_RUN.sub(checked, text) if "@" in text else text


def _numbers(text: str, mask: str = "NUMBER") -> str:
    return _NUMBER.sub(lambda match: mask, text)


# U+FF01 … U+FF5E repeat ASCII; a half-width kana may carry its voicing mark, also after a full-width one.
_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: " "}
_WIDTH |= {0xFFE0: "¢", 0xFFE1: "£", 0xFFE2: "¬", 0xFFE3: "¯", 0xFFE4: "¦", 0xFFE5: "¥", 0xFFE6: "₩"}
_HALF_KANA = re.compile("[うか-ほウカ-ホワ-ヲ]?[\uff61-\uff9f]+")


def _width(text: str) -> str:
    if text.isascii():
        return text
    return _HALF_KANA.sub(lambda match: unicodedata.normalize("NFKC", match.group()), text.translate(_WIDTH))


@dataclass(frozen=True)
class CleaningStep:
    """A named, idempotent function from text to text.

    Attributes:
        help: what it does, in a line.
        function: ``str`` → ``str``; with a mask word also ``(text, mask)``.
        mask: the field of :class:`TextCleaner` that holds its mask word, or "".
    """

    name: str
    help: str
    function: Callable[..., str]
    mask: str = ""

    def __call__(self, text: str) -> str:
        return self.function(text)


STEPS: dict[str, CleaningStep] = {
    step.name: step
    for step in (
        CleaningStep(
            "html", "tags and scripts removed, blocks to line breaks, entities (&amp;) to characters", _html
        ),
        CleaningStep(
            "control", "control characters removed, odd line ends made \\n; \\n and tab stay", _control
        ),
        CleaningStep(
            "zero-width", "invisible characters such as U+200B removed, joiners that spell kept", _zero_width
        ),
        CleaningStep("bidi", "marks and overrides of writing direction removed", _bidi),
        CleaningStep("unicode", "one code for one character (NFC); broken surrogates to U+FFFD", _unicode),
        CleaningStep("compat", "look-alike forms made plain (NFKC): ﬁ to fi, ② to 2, ｶﾞ to ガ", _compat),
        CleaningStep(
            "width",
            "full-width letters, digits and signs (ＡＢＣ１，) to ASCII, half-width kana to full",
            _width,
        ),
        CleaningStep("lowercase", "capital letters to small ones", str.lower),
        CleaningStep("urls", "web addresses replaced by a word", _urls, mask="url"),
        CleaningStep(
            "pii",
            "personal data replaced by a word: e-mail, phone, card, IBAN, Chinese resident ID, IP, tokens in URLs",
            pii.masked,
        ),
        CleaningStep("emails", "e-mail addresses replaced by a word", _emails, mask="email"),
        CleaningStep(
            "numbers",
            "numbers, times and dates replaced by a word; a sign or % stays",
            _numbers,
            mask="number",
        ),
        CleaningStep(
            "whitespace",
            "runs of blanks to one space, blank lines and blanks at the ends removed",
            _whitespace,
        ),
    )
}

# Repairs only: nothing that a reader of the rendered page would miss.
DEFAULT = ("html", "control", "zero-width", "bidi", "unicode", "whitespace")

# --- the pipeline ------------------------------------------------------------------------------------------------

_MASK = re.compile(r"[\[<({]?[^\W\d]+[\]>)}]?")


@dataclass(frozen=True)
class TextCleaner(Config):
    """Text cleaning pipeline: named steps in the given order; ``pipeline(text)`` cleans one text.

    Args:
        steps: names from :data:`STEPS`.
        url, email, number: replacement words of the masking steps: letters, optionally in brackets ("URL",
        "<url>").
        empty: what :meth:`apply` does with rows that are empty after cleaning: refuse or keep.

    Raises:
        ConfigError: an unknown step (with the nearest name), a step named twice, a mask that a step would
            change.
    """

    steps: tuple[str, ...] = option(DEFAULT, "Names of the cleaning steps, in the order in which they run.")
    url: str = option("URL", "Replacement for URLs.")
    email: str = option("EMAIL", "Replacement for e-mail addresses.")
    number: str = option("NUMBER", "Replacement for numbers.")
    empty: str = option(
        "refuse", "What to do with rows that are empty after cleaning.", choices=("refuse", "keep")
    )

    def check(self) -> None:
        super().check()
        if isinstance(self.steps, str):
            raise ConfigError(
                _("TextCleaner.steps = {steps!r} is a string; give a tuple of names: ({steps!r},)."),
                steps=self.steps,
            )
        object.__setattr__(self, "steps", tuple(self.steps))  # a list is welcome
        for position, name in enumerate(self.steps):
            if name not in STEPS:
                raise ConfigError(
                    _("no cleaning step {name!r}.{hint} Known: {known}."),
                    name=name, hint=nearest(name, STEPS), known=", ".join(STEPS),
                )  # fmt: skip
            if name in self.steps[:position]:
                raise ConfigError(_("the cleaning step {name!r} is named twice; name it once."), name=name)
        for field in ("url", "email", "number"):
            if not _MASK.fullmatch(given := getattr(self, field)):
                raise ConfigError(
                    _("TextCleaner.{field} = {given!r} must be a word such as 'URL', '<url>' or '[URL]'."),
                    field=field,
                    given=given,
                )

    @cached_property
    def functions(self) -> tuple[Callable[[str], str], ...]:
        """The steps as functions of one text, mask words filled in."""
        steps = [STEPS[name] for name in self.steps]
        return tuple(partial(s.function, mask=getattr(self, s.mask)) if s.mask else s.function for s in steps)

    def __call__(self, text: str) -> str:
        """Clean one text. Raises :class:`DataError` for anything that is not a ``str``."""
        stages = list(self.stages(text))
        return stages[-1][2] if stages else text

    def stages(self, text: str) -> Iterator[tuple[str, str, str]]:
        """(step, text before it, text after it) for the steps that change this text, in their order."""
        if not isinstance(text, str):
            raise DataError(
                _("a text to clean must be a str, not {type} {text!r}."), type=type(text).__name__, text=text
            )
        for name, function in zip(self.steps, self.functions, strict=True):
            before, text = text, function(text)
            if text != before:
                yield name, before, text

    def apply(self, rows: Table) -> Table:
        """Clean every text column of every split.

        The report counts the rows that each step changed, and has a refused note with the row number for each
        row that had a text and is left without (``empty="refuse"``).

        Raises:
            DataError: the rows hold no texts, or nothing is left of a split.
        """
        _need_texts(rows)
        splits, report = dict(rows.splits), Report()
        changed = np.zeros(len(self.steps), np.int64)
        for name in filter(rows.counts().get, rows.splits):
            cleaned = self._cleaned(splits[name], cache=f"{rows.fingerprint} {name}")
            marks = np.asarray(column(cleaned, _CHANGED))
            changed += [(marks >> position & 1).sum() for position in range(len(self.steps))]
            emptied = np.asarray(column(cleaned, _EMPTIED)) * (self.empty == "refuse")
            splits[name] = _without(cleaned.remove_columns([_CHANGED, _EMPTIED]), emptied, name, report)
        counts = dict(zip(self.steps, changed.tolist(), strict=True))
        return rows.with_splits(splits, _counted(counts, len(rows)).merge(report))

    def counts(self, rows: SplitDataset | Iterable[str]) -> dict[str, int]:
        """Step → number of rows it changes when the steps run in order; nothing is changed."""
        totals = dict.fromkeys(self.steps, 0)
        for _unused, texts in _texts(rows):
            for name in {name for text in texts for name, *_rest in self.stages(text)}:
                totals[name] += 1
        return totals

    def preview(
        self, rows: SplitDataset | Iterable[str], n: int = 5, step: str | None = None, *, width: int = 160,
        escape: bool = True,
    ) -> pd.DataFrame:  # fmt: skip
        """The first ``n`` changes that each step (or one) makes, to look at before applying.

        Args:
            rows: Rows, or texts, then numbered from 0.
            width: longer texts are cut to this many characters around the first change; 0 leaves them whole.
            escape: write characters that cannot be seen as ``\\u200b``; False gives them as they are.

        Returns:
            A frame with the columns row, step, before, after, in the order of the steps. Both texts are those
            around this one step; pandas escapes them when the frame is shown as HTML.
        """
        if step is not None and step not in self.steps:
            has = ", ".join(self.steps)
            raise ConfigError(
                _("the pipeline has no step {step!r}.{hint} It has: {has}."),
                step=step, hint=nearest(step, self.steps), has=has,
            )  # fmt: skip
        show = _shown if escape else str
        found: dict[str, list[tuple[int, str, str, str]]] = {
            name: [] for name in ([step] if step else self.steps)
        }
        for row, texts in _texts(rows):
            if all(len(changes) >= n for changes in found.values()):
                break
            for name, before, after in (stage for text in texts for stage in self.stages(text)):
                if name in found and len(found[name]) < n:
                    before, after = _around_change(before, after, width)
                    found[name].append((row, name, show(before), show(after)))
        lines = [line for changes in found.values() for line in changes]
        return pd.DataFrame(lines, columns=["row", "step", "before", "after"])

    def _cleaned(self, split: Dataset, cache: str) -> Dataset:
        """The split with clean texts and two columns of marks; memory-mapped in the cache if the split is
        mapped."""
        key = fingerprint(cache, self.to_dict())
        return split.map(
            self._batch,
            batched=True,
            input_columns=text_columns(split),
            cache_file_name=str(cache_dir("clean") / f"{key}.arrow") if split.cache_files else None,
            load_from_cache_file=False,  # it may have been written by a labkit that cleaned otherwise
            new_fingerprint=key[:16],
            desc="cleaning",
        )

    def _batch(self, *columns: list[str]) -> dict[str, list[Any]]:
        """A batch of each text column, cleaned; bits of the steps that changed a row; 1 + the column left
        empty."""
        out: dict[str, list[Any]] = {name: [] for name in (*_COLUMNS[: len(columns)], _CHANGED, _EMPTIED)}
        for texts in zip(*columns, strict=True):
            changed = emptied = 0
            for position, (name, text) in enumerate(zip(_COLUMNS, texts, strict=False)):
                stages = list(self.stages(text))
                clean = stages[-1][2] if stages else text
                changed |= sum(1 << self.steps.index(step) for step, _, _ in stages)
                emptied = emptied or (1 + position if text and not clean else 0)
                out[name].append(clean)
            out[_CHANGED].append(changed)
            out[_EMPTIED].append(emptied)
        return out


recorded(TextCleaner, "clean")


_COLUMNS = ("text", "text_pair")
_CHANGED, _EMPTIED = "_changed_by", "_left_empty"
_BLANK = re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")


def _shown(text: str) -> str:
    """The text for the eye, blanks that look like a space written out too."""
    return _BLANK.sub(lambda match: f"\\u{ord(match.group()):04x}", visible(text))


def _need_texts(rows: SplitDataset) -> None:
    for name, split in rows.splits.items():
        if not text_columns(split):
            raise DataError(
                _("cleaning needs texts; {name!r} has the columns {column_names}."),
                name=name,
                column_names=", ".join(split.column_names),
            )


def _texts(rows: SplitDataset | Iterable[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(row number, its texts), split after split; plain texts are numbered from 0."""
    if isinstance(rows, str):
        raise DataError(_("pass texts in a list: [{rows!r}]."), rows=rows[:40])
    if not isinstance(rows, SplitDataset):
        yield from ((number, (text,)) for number, text in enumerate(rows))
        return
    _need_texts(rows)
    for split in rows.splits.values():
        for table in batches(split, ["row", *text_columns(split)]):
            for row, *texts in zip(*(part.to_pylist() for part in table.columns), strict=True):
                yield row, tuple(texts)


def _counted(changed: dict[str, int], total: int) -> Report:
    """A note for each step that changed something, counted as often as it did."""
    counts = {f"changed by {step}": count for step, count in changed.items() if count}
    notes = [
        asdict(Note(None, None, "counted", why, _("{n:,} of {total:,} rows", n=n, total=total)))
        for why, n in counts.items()
    ]
    return Report.from_dict({"notes": notes, "counts": [["counted", why, n] for why, n in counts.items()]})


def _without(split: Dataset, emptied: np.ndarray, name: str, report: Report) -> Dataset:
    """The split without the rows of which a text was left empty; each is noted in the report."""
    if not emptied.any():
        return split
    if emptied.all():
        raise DataError(
            _("cleaning leaves all rows of {name!r} empty; check `pipeline.preview(rows)`."), name=name
        )
    numbers = np.asarray(column(split, "row"))
    for position, part in enumerate(text_columns(split)):
        gone = numbers[emptied == position + 1]
        report.add("refused", _("empty after cleaning"), gone.tolist(), column=part, split=name)
    return memmap.chosen(split, np.flatnonzero(emptied == 0))


def _around_change(before: str, after: str, width: int) -> tuple[str, str]:
    """Both texts cut to ``width`` characters, beginning a little before their first difference."""
    differ = (at for at, (one, other) in enumerate(zip(before, after, strict=False)) if one != other)
    first = next(differ, min(len(before), len(after)))
    start = max(0, first - width // 4) if max(len(before), len(after)) > width > 0 else 0
    return _cut(before, start, width), _cut(after, start, width)


def _cut(text: str, start: int, width: int) -> str:
    end = start + width if width > 0 else len(text)
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")
