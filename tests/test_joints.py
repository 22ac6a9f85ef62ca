"""Upper rooms use tasks, models and batches by their base classes: no attribute is looked up by its name, and what is
done for one of them is registered by class instead of compared by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import labkit as lk

PACKAGE = Path(__file__).parent.parent / "labkit"
#: What variables and attributes are called that hold a task, a model, batches or a class of them.
JOINTS = {
    "task", "tasks", "model", "models", "head", "batches", "validation", "processor", "predictor", "config", "backbone",
    "experiment", "computed",
}  # fmt: skip
NAMES = {*lk.models.models, *lk.tasks.tasks}


#: Rooms that know no task and no model.
BELOW = ("base", "data")


def nodes() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] in BELOW:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            yield f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}", node


def subject(node: ast.expr) -> str:
    """``model`` of ``model``, ``setup.model`` and ``type(setup.model)``."""
    if isinstance(node, ast.Call) and node.args:
        return subject(node.args[0])
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def looked_up(node: ast.AST) -> bool:
    """Whether an attribute of a task, a model or batches is looked up by its name."""
    called = (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("getattr", "hasattr")
    )
    return called and subject(node.args[0]) in JOINTS


def compared(node: ast.AST) -> bool:
    """Whether something is compared with the name of a task or an architecture."""
    if not isinstance(node, ast.Compare):
        return False
    if isinstance(node.ops[0], (ast.In, ast.NotIn)) and isinstance(node.left, ast.Constant):
        return False  # a key, such as "segment" of a packed batch
    sides = [each for side in (node.left, *node.comparators) for each in getattr(side, "elts", [side])]
    return any(isinstance(side, ast.Constant) and side.value in NAMES for side in sides)


def test_no_attribute_of_a_task_a_model_or_batches_is_looked_up_by_its_name() -> None:
    assert [where for where, node in nodes() if looked_up(node)] == []


def test_few_comparisons_with_the_name_of_a_task_or_an_architecture() -> None:
    found = [where for where, node in nodes() if compared(node)]
    assert len(found) <= 10, found


def test_these_tests_would_see_them() -> None:
    def expression(text: str) -> ast.AST:
        return ast.parse(text, mode="eval").body

    assert looked_up(expression('hasattr(setup.model, "save")')) and looked_up(
        expression('getattr(type(task), "problem_type")')
    )
    assert not looked_up(expression("getattr(leaf, name)"))
    assert compared(expression('name in ("seq2seq", "qa")')) and compared(expression('"bert" == name'))
    assert not compared(expression('name == "other"')) and not compared(expression('"segment" in batch'))
