"""The architecture page of the documentation: every module with the first sentence of its docstring.

``python -m tests.architecture`` writes ``labkit/docs/architecture.md``; a test holds it equal to the code.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "labkit"
PAGE = PACKAGE / "docs" / "architecture.md"
HEAD = """# Architecture

Data flows one way:

raw rows → dataset → tokens / features → batches → compiled step → metrics → run store → panels / report → export

Imports go down only: a room imports the rooms above it in the list below, never those that follow
(`tests/test_rooms.py`). The line of a module is the first sentence of its docstring.
"""
#: Lowest first.
ROOMS = (
    *("i18n", "core", "hub", "profile", "data", "models", "tasks", "train"),
    *("runs", "explain", "inference", "evaluate", "viz", "app", "course", "", "cli", "benchmarks"),
)


def sentence(path: Path) -> str:
    """The first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return re.split(r"(?<=\.)\s", " ".join(text.split("\n\n")[0].split()))[0]


def page() -> str:
    lines = [HEAD]
    for room in ROOMS:
        folder = PACKAGE / room
        files = sorted(folder.rglob("*.py") if room else folder.glob("*.py"))
        if not files:
            continue
        about = f" — {sentence(folder / '__init__.py')}" if room else " — Public names."
        lines.append(f"## {f'labkit/{room}' if room else 'labkit'}{about}\n")
        named = [path for path in files if path.name != "__init__.py"]
        lines += [f"- `{path.relative_to(folder).as_posix()}`: {sentence(path)}" for path in named]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
