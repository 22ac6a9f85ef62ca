"""What users read is plain English in the terms of the field: no word of a list of phrases that need explaining."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: What a reader of the field would have to translate first, and what to write instead.
PHRASES = {
    r"(?:is|are|was|were|be|been|being) (?:told|bent|parted)": "predicted, reported, activated, grouped",
    r"tells? (?:the|what|it|its|how|rows|tokens|whether|that|next|hidden|of|no|one|classes)": "predict, report, show",
    r"asked for by": "requested by",
    r"(?:lay|lays|laid) (?:it|them|others?|another|over|beside)": "overlay, compare with",
    r"laid end to end": "concatenated",
    r"laid out (?:flat|inside|in one)": "flattened, unrolled",
    r"stands? (?:beside|aslant)": "is shown next to",
    r"also stands? in": "also occurs in",
    r"parted by|(?:be|is|are) parted": "grouped by",
    r"let fall": "dropped, ignored",
    r"so many (?:times )?as|so many of": "as many as; k",
    r"of late": "recently",
    r"for ever": "permanently",
    r"(?:what )?is (?:known|told|said|kept|asked) of": "the labels of",
    r"what is (?:told|known|said|asked)": "the prediction, the label, the output",
    r"(?:has|have|had) learnt": "was trained for",
    r"without a word": "without reporting",
    r"beg[iua]n(?:s)? (?:again|anew)": "restart",
    r"write[s]? on\b(?! )": "generate",
    r"has no use for": "does not accept",
    r"no whole": "not a complete",
    r"mend": "fix",
    r"is dear|are dear|dearest": "expensive",
    r"from below": "from input to output",
    r"by chance|of the chance": "at random",
    r"pieces? to (?:learn|be told)": "vocabulary size",
    r"what chance does": "random",
    r"boasts?": "overconfident",
}
DIALECT = re.compile(r"\b(?:" + "|".join(f"(?:{phrase})" for phrase in PHRASES) + r")\b", re.IGNORECASE)
MARKS = ("_", "ngettext", "pgettext", "option", "Option", "Argument", "Typer")


def python_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Docstrings, messages and help texts of a module: (place, text)."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (
            text := ast.get_docstring(node)
        ):
            yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", text
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in MARKS:
            for value in [*node.args, *(keyword.value for keyword in node.keywords)]:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", value.value


def lesson_texts(path: Path) -> Iterator[tuple[str, str]]:
    """The Markdown cells of a notebook."""
    for number, cell in enumerate(json.loads(path.read_text("utf-8"))["cells"]):
        if cell["cell_type"] == "markdown":
            yield f"{path.name}[{number}]", "".join(cell["source"])


def found(texts: Iterator[tuple[str, str]]) -> list[str]:
    flat = ((place, " ".join(text.split())) for place, text in texts)
    return [f"{place}: …{text[max(0, hit.start() - 40):hit.end() + 40]}…" for place, text in flat
            for hit in DIALECT.finditer(text)]  # fmt: skip


def test_the_list_finds_what_it_is_for():
    for text in (
        "Share of the tokens that are to be told.", "Lay over", "stands beside", "What rows can be parted by",
        "what is known of a row", "Asked for\nby name", "the sum is bent", "what it would write is let fall",
    ):  # fmt: skip
        assert found(iter([("", text)])), text
    for text in (
        "Fraction of tokens to mask.",
        "tell me",
        "The standard deviation",
        "recommended",
        "amended",
    ):
        assert not found(iter([("", text)])), text


@pytest.mark.parametrize(
    "room", sorted(path.name for path in (ROOT / "labkit").iterdir() if (path / "__init__.py").exists())
)
def test_docstrings_messages_and_help_are_plain(room: str):
    assert [
        hit for path in sorted((ROOT / "labkit" / room).rglob("*.py")) for hit in found(python_texts(path))
    ] == []


def test_public_modules_and_docs_are_plain():
    files = [*sorted((ROOT / "labkit").glob("*.py"))]
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "labkit" / "docs").rglob("*.md"))]
    prose = (
        (page.name, re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)) for page in pages
    )
    assert [hit for path in files for hit in found(python_texts(path))] + found(prose) == []


@pytest.mark.parametrize("lesson", sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb")))
def test_the_prose_of_a_lesson_is_plain(lesson: str):
    assert found(lesson_texts(ROOT / "notebooks" / lesson)) == []
