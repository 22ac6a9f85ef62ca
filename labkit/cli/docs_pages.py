"""The documentation as web pages with a search: Markdown to HTML, without a network."""

from __future__ import annotations

import json
import posixpath
import re
import shutil
import string
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from labkit.core.errors import LabkitError, os_reason
from labkit.core.text import escape
from labkit.i18n import _

SOURCE = Path(__file__).parents[1] / "docs"
#: Sections of the navigation and their pages, in the order of reading.
NAVIGATION: dict[str, tuple[str, ...]] = {
    "Start": ("index", "quickstart"),
    "How-to guides": (
        "how-to/use-the-panels",
        "how-to/teach-with-the-course",
        "how-to/coming-from-transformers",
        "how-to/load-data",
        "how-to/prepare-data",
        "how-to/check-labels",
        "how-to/choose-a-model",
        "how-to/train-and-resume",
        "how-to/fine-tune-bert",
        "how-to/language-models",
        "how-to/tables-and-health",
        "how-to/questions-and-translation",
        "how-to/tag-words",
        "how-to/chat",
        "how-to/search",
        "how-to/evaluate",
        "how-to/compare-models",
        "how-to/scenario",
        "how-to/forecasts",
        "how-to/segmentation",
        "how-to/generate-images",
        "how-to/recommendations",
        "how-to/speech",
        "how-to/fairness",
        "how-to/explain-predictions",
        "how-to/predict",
        "how-to/export-and-serve",
        "how-to/export-metrics",
        "how-to/where-it-runs",
        "how-to/export-to-onnx",
        "how-to/cards",
        "how-to/smaller-models",
        "how-to/private-training",
        "how-to/faster-training",
        "how-to/several-processes",
        "how-to/own-model-and-task",
    ),
    "Background": ("concepts", "glossary", "course", "architecture"),
    "中文": ("zh/index", "zh/quickstart"),
    "Reference": (
        "reference/command-line",
        "reference/data",
        "reference/models",
        "reference/tasks",
        "reference/training",
        "reference/evaluation",
        "reference/inference",
        "reference/lab",
    ),
}
INDEX = "search-index.js"
PICTURES = "pictures"


@dataclass
class Page:
    """A page as HTML."""

    name: str
    """Path relative to the documentation, without the suffix."""
    title: str = ""
    body: str = ""
    headings: list[tuple[int, str, str]] = field(default_factory=list)
    """Level, anchor and text of each heading, in order."""
    texts: list[str] = field(default_factory=list)
    """Plain text below each heading."""
    links: list[str] = field(default_factory=list)
    """Targets of the links as written."""


def pages(source: Path = SOURCE) -> dict[str, Page]:
    """All pages by name, in the order of the navigation."""
    return {
        name: render(name, (source / f"{name}.md").read_text("utf-8"))
        for section in NAVIGATION.values()
        for name in section
    }


def render(name: str, text: str) -> Page:
    """One page of Markdown. HTML in it is shown as text."""
    markdown = MarkdownIt("commonmark", {"html": False, "highlight": _highlighted}).enable("table")
    page, tokens, taken = Page(name), markdown.parse(text), set[str]()
    heading = None
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = int(token.tag[1])
            words = _plain(tokens[place + 1])
            anchor = _slug(words, taken)
            token.attrSet("id", anchor)
            page.headings.append((heading, anchor, words))
            page.texts.append("")
        elif token.type == "inline":
            _link(token, page)
            if heading is None and page.texts:
                page.texts[-1] += f"{_plain(token)} "
        elif token.type == "heading_close":
            heading = None
        elif token.type == "fence" and page.texts:
            page.texts[-1] += f"{' '.join(token.content.split())} "
        elif token.type == "table_open":
            token.attrSet("tabindex", "0")  # a wide table is scrolled by keyboard too
    page.title = page.headings[0][2] if page.headings else name
    page.body = markdown.renderer.render(tokens, markdown.options, {})
    return page


def write_site(folder: Path, source: Path = SOURCE) -> None:
    """Write the whole site into ``folder``.

    Raises:
        LabkitError: the folder holds something else, or cannot be written.
    """
    try:
        if folder.exists() and any(folder.iterdir()) and not (folder / INDEX).exists():
            raise LabkitError(_("{folder!r} is not empty; give a new folder."), folder=str(folder))
        built = pages(source)
        template = string.Template((source / "theme" / "page.html").read_text("utf-8"))
        for page in built.values():
            target = folder / f"{page.name}.html"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(whole(page, built, template), encoding="utf-8")
        for asset in ("style.css", "search.js"):
            (folder / asset).write_text((source / "theme" / asset).read_text("utf-8"), encoding="utf-8")
        shutil.copytree(source / PICTURES, folder / PICTURES, dirs_exist_ok=True)
        (folder / "code.css").write_text(_code_style(), encoding="utf-8")
        records = json.dumps(search_index(built), separators=(",", ":"))
        (folder / INDEX).write_text(f"window.labkitIndex = {records};\n", encoding="utf-8")
    except OSError as error:
        raise LabkitError(
            _("cannot write {path}: {reason}."), path=folder, reason=os_reason(error)
        ) from error


def search_index(built: dict[str, Page]) -> list[dict[str, str]]:
    """A record for each heading: the page, the anchor, the heading and the text below it."""
    return [
        {
            "page": f"{page.name}.html",
            "anchor": anchor,
            "title": page.title,
            "heading": words,
            "text": text.strip(),
        }
        for page in built.values()
        for (_level, anchor, words), text in zip(page.headings, page.texts, strict=True)
    ]


# --- pieces of a page -------------------------------------------------------------------------------------------


def whole(page: Page, built: dict[str, Page], template: string.Template) -> str:
    """A page with its navigation, as a file of HTML."""
    base = "../" * page.name.count("/")
    order = list(built)
    place = order.index(page.name)
    return template.substitute(
        title=escape(page.title),
        base=base,
        navigation=_navigation(page, built, base),
        contents=_contents(page),
        body=page.body,
        before=_neighbour(built[order[place - 1]], base, "prev") if place else "",
        after=_neighbour(built[order[place + 1]], base, "next") if place + 1 < len(order) else "",
    )


def _navigation(page: Page, built: dict[str, Page], base: str) -> str:
    lines = []
    for section, names in NAVIGATION.items():
        lines.append(f"<p>{escape(section)}</p>\n<ul>")
        for name in names:
            here = ' aria-current="page"' if name == page.name else ""
            lines.append(f'<li><a href="{base}{name}.html"{here}>{escape(built[name].title)}</a></li>')
        lines.append("</ul>")
    return "\n".join(lines)


def _contents(page: Page) -> str:
    lines = [
        f'<li><a href="#{anchor}">{escape(words)}</a></li>'
        for level, anchor, words in page.headings
        if level == 2
    ]
    if len(lines) < 2:
        return ""
    return (
        f'<nav class="contents" aria-label="On this page"><p>On this page</p><ul>{"".join(lines)}</ul></nav>'
    )


def _neighbour(page: Page, base: str, relation: str) -> str:
    word = {"prev": "Previous", "next": "Next"}[relation]
    return f'<a rel="{relation}" href="{base}{page.name}.html">{word}: {escape(page.title)}</a>'


def _plain(token: Token) -> str:
    """The text of an inline token without its marks."""
    kinds = {"text", "code_inline"}
    return "".join(
        " " if each.type in ("softbreak", "hardbreak") else each.content
        for each in token.children or ()
        if each.type in kinds or each.type.endswith("break")
    )


def _slug(words: str, taken: set[str]) -> str:
    """The anchor of a heading, as GitHub makes it."""
    base = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
    anchor, number = base, 0
    while anchor in taken:
        number += 1
        anchor = f"{base}-{number}"
    taken.add(anchor)
    return anchor


def _link(token: Token, page: Page) -> None:
    """Let links to other pages of Markdown lead to their HTML."""
    for each in token.children or ():
        if each.type == "link_open":
            target = str(each.attrGet("href"))
            page.links.append(target)
            path, mark, anchor = target.partition("#")
            if ":" not in path and posixpath.splitext(path)[1] == ".md":
                each.attrSet("href", f"{path.removesuffix('.md')}.html{mark}{anchor}")


def _highlighted(code: str, name: str, _attributes: str) -> str:
    """Code with its words marked; escaped by Pygments."""
    try:
        lexer = get_lexer_by_name(name or "text", stripnl=False)
    except ClassNotFound:
        return escape(code)
    return highlight(code, lexer, HtmlFormatter(nowrap=True))


def _code_style() -> str:
    """Colours of code on light and on dark pages."""
    light = HtmlFormatter(style="default", nobackground=True).get_style_defs("pre")
    dark = HtmlFormatter(style="github-dark", nobackground=True).get_style_defs
    scheme = f"@media (prefers-color-scheme: dark) {{\n{dark(':root:not([data-theme=light]) pre')}\n}}\n"
    return f"{light}\n{scheme}{dark(':root[data-theme=dark] pre')}\n"
