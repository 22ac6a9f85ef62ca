"""Notebooks as lessons: what one must be, its code without a kernel, and its outputs written anew.

python tests/lessons.py notebooks/03_architectures.ipynb   # run it; outputs of cells with a tag of KEPT stay in it
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import labkit as lk

ROOT = Path(__file__).parent.parent
#: The page to start from, which is no lesson.
START = "00_start_here"
LESSONS = [path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if not path.name.startswith(START)]
#: Cells whose outputs stay in the file: compared by nbval on every change, or only shown to readers.
KEPT = {"nbval-check-output", "kept"}
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
SHOWN = {"text/plain", "text/html", "text/markdown", "text/latex", "image/svg+xml"}
#: Characters of a line of code that a page of 1,000 pixels shows.
WIDEST = 96
#: How a lesson begins and how its last part is called, in either language.
PROMISES, EXERCISES = ("**You will be able to**", "**学完这一课，你将能够**"), ("## Exercises", "## 练习")


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


def write(path: Path, notebook: dict[str, Any]) -> None:
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def cells(notebook: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def tags(cell: dict[str, Any]) -> set[str]:
    return set(cell["metadata"].get("tags", ()))


# --- what a notebook must be ----------------------------------------------------------------------------------------


def problems(text: str, name: str, beside: set[str]) -> list[str]:
    """Why a notebook must not be committed as it is; empty when it may.

    Args:
        text: the file.
        name: of the file.
        beside: names of the files in its folder, which links may lead to.
    """
    notebook = json.loads(text)
    parts = (_file(text, notebook, name), _outputs(notebook), _code(notebook), _links(notebook, beside))
    return [problem for part in (*parts, _lesson(notebook, name)) for problem in part]


def _file(text: str, notebook: dict[str, Any], name: str) -> Iterator[str]:
    if len(text.encode()) >= 200_000:
        yield f"{len(text.encode()):,} bytes; fewer than 200,000"
    if notebook["metadata"] != METADATA:
        yield f"metadata other than {METADATA}"
    ids = [cell.get("id", "") for cell in notebook["cells"]]
    if ids != [f"{name[:2]}-{place:02}" for place in range(len(ids))]:
        yield f"ids of cells other than {name[:2]}-00, {name[:2]}-01, …"
    if any(set(cell["metadata"]) - {"tags"} for cell in notebook["cells"]):
        yield "metadata of cells beside tags"
    for what, pattern in (
        ("a path of one machine", r"(?:/home/|/root/|/Users/|/tmp/|/work/|[A-Z]:\\\\)[\w.-]+"),
        ("a token", r"[?&]token=\w+|hf_\w{20,}"),
    ):
        if match := re.search(pattern, json.dumps(notebook["cells"], ensure_ascii=False)):
            yield f"{what}: {match[0]}"


def _outputs(notebook: dict[str, Any]) -> Iterator[str]:
    for cell in cells(notebook, "code"):
        if (cell["execution_count"] is None) == bool(
            cell["outputs"]
        ):  # nbval takes outputs without one for an error
            yield f"{cell['id']} has an execution count without outputs, or outputs without a count"
        if cell["outputs"] and not tags(cell) & KEPT:
            yield f"{cell['id']} has outputs without a tag of {', '.join(sorted(KEPT))}"
        if not cell["outputs"] and tags(cell) & KEPT:
            yield f"{cell['id']} is to keep outputs and has none"
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                yield f"{cell['id']} keeps a traceback"
            if strange := set(output.get("data", {})) - SHOWN:
                yield f"{cell['id']} keeps an output of {', '.join(sorted(strange))}"


def _links(notebook: dict[str, Any], beside: set[str]) -> Iterator[str]:
    for cell in cells(notebook, "markdown"):
        for link in re.findall(r"\]\(([^()\s]+)\)", source(cell)):
            if not link.startswith("https://") and link not in beside:
                yield f"{cell['id']} links to {link}, which is not there"


def _code(notebook: dict[str, Any]) -> Iterator[str]:
    claims = 0
    for cell in cells(notebook, "code"):
        if re.search(r"^\s*[!%]|\b(?:pip|conda|apt-get)\b.*\binstall\b", source(cell), re.MULTILINE):
            yield f"{cell['id']} installs something or uses a magic"
            continue
        if wide := [line for line in source(cell).splitlines() if len(line) > WIDEST]:
            yield f"{cell['id']} has a line of {len(wide[0])} characters, at most {WIDEST} fit a rendered page"
        for node in ast.walk(ast.parse(source(cell))):
            yield from (f"{cell['id']} {problem}" for problem in _names(node))
            if isinstance(node, ast.Assert):
                claims += 1
                if not any(isinstance(part, ast.Name) for part in ast.walk(node.test)):
                    yield f"{cell['id']} claims what cannot fail: {ast.unparse(node)}"
    if not claims:
        yield "no claim is stated as an assert"


def _names(node: ast.AST) -> Iterator[str]:
    """What of labkit is used and not public."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.partition(".")[0] == "labkit" and (alias.name, alias.asname) != ("labkit", "lk"):
                yield f"imports {alias.name}; `import labkit as lk` is the way in"
    elif isinstance(node, ast.ImportFrom):
        if (node.module or "").partition(".")[0] == "labkit":
            yield f"imports from {node.module}; `import labkit as lk` is the way in"
    elif isinstance(node, ast.Attribute):
        if node.attr.startswith("_") and not node.attr.endswith("__"):
            yield f"uses the private name {node.attr}"
        if isinstance(node.value, ast.Name) and node.value.id == "lk" and node.attr not in lk.__all__:
            yield f"uses lk.{node.attr}, which is not public"
        inner = node.value
        if (
            isinstance(inner, ast.Attribute)
            and isinstance(inner.value, ast.Name)
            and inner.value.id == "lk"
            and not hasattr(getattr(lk, inner.attr, None), node.attr)
        ):
            yield f"uses lk.{inner.attr}.{node.attr}, which does not exist"


def _lesson(notebook: dict[str, Any], name: str) -> Iterator[str]:
    first, texts = notebook["cells"][0] if notebook["cells"] else {}, cells(notebook, "markdown")
    opening = source(first) if first.get("cell_type") == "markdown" else ""
    if not (
        opening.startswith("# ") and re.search(rf"(?:{'|'.join(map(re.escape, PROMISES))}).*\n\n?- ", opening)
    ):
        yield f"does not begin with a title and {PROMISES[0]}, as a list"
    starts = [cell for cell in texts if source(cell).startswith(EXERCISES)]
    at = notebook["cells"].index(starts[-1]) if starts else 0
    later = notebook["cells"][at:] if starts else []
    asked = [found for cell in later for found in exercises(cell)]
    early = [found for cell in notebook["cells"][:at] for found in exercises(cell)]
    if early != [f"{name[:2]}.{letter}" for letter in "abcdefgh"[: len(early)]]:
        yield f"questions before a cell is run: {', '.join(early)}; they must be {name[:2]}.a, {name[:2]}.b, …"
    if len(asked) < 2 or any("\n## " in source(cell) for cell in later):
        yield f"does not end with {EXERCISES[0]} of which two or more check themselves"
    if asked != [f"{name[:2]}.{number}" for number in range(1, len(asked) + 1)]:
        yield f"exercises {', '.join(asked)}; they must be {name[:2]}.1, {name[:2]}.2, …"


def exercises(cell: dict[str, Any]) -> list[str]:
    """The exercises that a cell checks: ``lk.check("03.2", answer)``."""
    return re.findall(r'\blk\.check\("(\d\d\.\w+)"', source(cell)) if cell["cell_type"] == "code" else []


# --- running --------------------------------------------------------------------------------------------------------


def execute(notebook: dict[str, Any], last: str, old: str = "", new: str = "") -> None:
    """Run the code of a notebook in this process up to the cell with the id ``last``, ``old`` in it being ``new``.

    A frame of a cell has the name ``<cell ID>`` as its file. ``old`` must be in exactly one place.
    """
    upto = [cell["id"] for cell in notebook["cells"]].index(last) + 1
    codes = {cell["id"]: source(cell) for cell in notebook["cells"][:upto] if cell["cell_type"] == "code"}
    if old and (places := sum(code.count(old) for code in codes.values())) != 1:
        raise ValueError(f"{old!r} is in {places} places before {last}, not in one")
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell_id, code in codes.items():
        made = compile(
            code.replace(old, new) if old else code,
            f"<cell {cell_id}>",
            "exec",
            ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        )
        if made.co_flags & inspect.CO_COROUTINE:
            asyncio.run(eval(made, names))
        else:
            exec(made, names)


def ran(path: Path, folder: Path) -> Any:
    """A notebook as nbformat has it, run in a kernel whose working directory is ``folder``."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read(path, as_version=4)
    return NotebookClient(book, timeout=7200, resources={"metadata": {"path": str(folder)}}).execute()


def renew(path: Path) -> None:
    """Run a notebook in a kernel and write it with the outputs that are to stay, and no others.

    Its Chinese edition, where it has one, gets the same code and outputs.
    """
    book = ran(path, path.parent)
    notebook = read(path)
    for cell, done in zip(notebook["cells"], book.cells, strict=True):
        if cell["cell_type"] == "code":
            kept = [_kept(output) for output in done.outputs] if tags(cell) & KEPT else []
            kept = [output for output in kept if output]
            cell |= {"outputs": kept, "execution_count": done.execution_count if kept else None}
    write(path, notebook)
    chinese = path.with_suffix(".zh.ipynb")
    if chinese.exists():
        code, other = {cell["id"]: cell for cell in cells(notebook, "code")}, read(chinese)
        write(chinese, other | {"cells": [code.get(cell["id"], cell) for cell in other["cells"]]})


def _kept(output: Any) -> dict[str, Any]:
    output = {key: value for key, value in output.items() if key != "transient"}
    if "data" in output:
        output["data"] = {kind: value for kind, value in output["data"].items() if kind in SHOWN}
        if "image/svg+xml" not in output["data"] and output["output_type"] == "display_data":
            return {}  # progress bars and panels
    for holder, key in (
        (output, "text"),
        *((output.get("data", {}), kind) for kind in output.get("data", {})),
    ):
        if isinstance(holder.get(key), str):
            holder[key] = holder[key].splitlines(keepends=True)
    return {} if output.get("name") == "stderr" else output


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        renew(Path(argument))
