"""The course by numbers: per lesson minutes, words, figures, sliders, exercises and claims.

``python -m tests.course_table`` writes ``labkit/docs/course.md``; a test holds it equal to the notebooks.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from labkit.course.real_size import measured

from .lessons import LESSONS, ROOT, START, cells, exercises, read, source

PAGE = ROOT / "labkit" / "docs" / "course.md"
HEAD = """# The course by numbers

Each lesson is a notebook, in English and Chinese. Open them with `labkit lab`; the page *Start here* has the tracks,
and what each lesson needs. **Minutes** include the exercises; the run itself takes less than a minute. **Figures** are
plots and diagrams; **claims** are asserts in the code of the lesson, which fail where its sentences are wrong. **Real
size** is the time of the same cells with `LABKIT_SCALE=full` on two cores, where it has been measured.

| lesson | minutes | words | figures | sliders | exercises | claims | real size |
|---|---|---|---|---|---|---|---|
"""


def count(path: Path) -> dict[str, int]:
    """Words of the prose, figures, sliders, exercises and claims of a notebook."""
    notebook = read(path)
    code = "\n".join(source(cell) for cell in cells(notebook, "code"))
    prose = " ".join(source(cell) for cell in cells(notebook, "markdown"))
    return {
        "words": len(re.findall(r"[A-Za-z][\w'-]*", re.sub(r"\$\$.*?\$\$", "", prose, flags=re.DOTALL))),
        "figures": code.count("lk.picture(") + code.count("lk.diagram("),
        "sliders": len(re.findall(r"\b(?:Int|Float|FloatLog)Slider\(", code)),
        "exercises": sum(len(exercises(cell)) for cell in notebook["cells"]),
        "claims": sum(_claims(source(cell)) for cell in cells(notebook, "code")),
    }


def _claims(code: str) -> int:
    return sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(code)))


def minutes() -> dict[str, int]:
    """Lesson → minutes for a reader, from the start page."""
    text = "\n".join(source(cell) for cell in read(ROOT / "notebooks" / f"{START}.ipynb")["cells"])
    return {
        name: int(found) for name, found in re.findall(r"^\| \[(\d\d)\][^|]*\|[^|]+\| (\d+) \|", text, re.M)
    }


def page() -> str:
    total: dict[str, int] = {}
    lines, of_reader = [], minutes()
    for path in (each for each in LESSONS if not each.name.endswith(".zh.ipynb")):
        numbers: dict[str, Any] = {"minutes": of_reader[path.name[:2]], **count(path)}
        total = {name: total.get(name, 0) + number for name, number in numbers.items()}
        title = source(read(path)["cells"][0]).splitlines()[0].removeprefix("# ")
        stored = measured(path.name[:2])
        took = f"{stored['minutes']:.0f} min" if stored else "–"
        lines.append(_line([f"{path.name[:2]} {title}", *numbers.values(), took]))
    return HEAD + "\n".join([*lines, _line(["all", *total.values(), ""])]) + "\n"


def _line(values: list[Any]) -> str:
    texts = [f"{value:,}" if isinstance(value, int) else value for value in values]
    return f"| {' | '.join(texts)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
