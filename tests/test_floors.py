"""The house rule: imports go down only, and each floor touches only the outside packages it may.

All imports count, those inside functions and under TYPE_CHECKING too, and so do the lazy ones: strings like
``"labkit.models.bert:BertConfig"``.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "labkit"

#: Floor → height. Equal heights do not know each other; files directly in labkit/ are the roof and may use all.
HEIGHT = {"i18n": 0, "base": 1, "data": 2, "models": 2, "tasks": 3, "train": 4, "judge": 5, "ship": 6, "panels": 7}
ROOF = 8

_ANYWHERE = {"numpy", "jaxtyping", "tqdm"}
_JAX = {"jax", "flax", "optax"}
#: Floor → outside packages, beside the standard library.
OUTSIDE = {
    "i18n": set(),
    "base": {"tomli_w", "huggingface_hub", "h5py"},
    "data": {
        "datasets",
        "pyarrow",
        "pandas",
        "tokenizers",
        "sklearn",
        "scipy",
        "charset_normalizer",
        "PIL",
        "grain",
        "openpyxl",
    },
    "models": {"jax", "flax", "safetensors", "huggingface_hub"},
    "tasks": _JAX,
    "train": {*_JAX, "orbax", "pandas", "psutil", "safetensors"},
    "judge": {"sklearn", "scipy", "pandas", "fairlearn", "jax", "flax"},
    "ship": {*_JAX, "safetensors", "pandas", "fastapi"},
    "panels": {"ipywidgets", "anywidget", "plotly", "IPython", "ipykernel", "jupyter_client", "traitlets", "pandas"},
    "": {"typer", "rich", "pandas", "packaging", "psutil", "jupyter_core"},
}
#: One file of the ground floor names array types and so loads JAX; only floors that have JAX may import it.
SHAPES = "base/shapes.py"
LAZY = re.compile(r"(labkit(?:\.\w+)+):\w+")


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that a file imports, with ``from labkit.data import text`` as labkit.data.text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
            if node.module and node.module.partition(".")[0] == "labkit":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and (lazy := LAZY.fullmatch(node.value)):
            yield lazy[1]


def violations(source: str, file: str) -> list[str]:
    """What a file (named relative to labkit/) may not import; empty when all is well."""
    floor = file.partition("/")[0] if "/" in file else ""
    found = set()
    for module in imports(ast.parse(source)):
        top, _, rest = module.partition(".")
        if not top:
            found.add(f"{file}: relative import")
        elif top == "labkit":
            found.update(_inside(floor, file, rest))
        elif top not in sys.stdlib_module_names and not _allowed(floor, file, top):
            found.add(f"{file}: {top} has no place on floor {floor or 'roof'!r}")
    return sorted(found)


def _inside(floor: str, file: str, module: str) -> Iterator[str]:
    target = module.partition(".")[0]
    if not floor or target == floor or not module:
        if floor and not module:
            yield f"{file}: imports labkit itself, which is the roof"
        return
    if HEIGHT.get(target, ROOF) >= HEIGHT[floor]:
        yield f"{file}: labkit.{target} is not below {floor}"
    if module.startswith("base.shapes") and "jax" not in OUTSIDE[floor]:
        yield f"{file}: labkit.base.shapes loads JAX"


def _allowed(floor: str, file: str, top: str) -> bool:
    return top in _ANYWHERE | OUTSIDE[floor] or (file == SHAPES and top == "jax")


FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES)
def test_imports_go_down_only(file: str) -> None:
    assert violations((PACKAGE / file).read_text("utf-8"), file) == []


def test_every_folder_is_a_floor_and_none_is_a_drawer() -> None:
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE}
    assert folders <= set(HEIGHT)
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
    assert [file for file in FILES if drawers & set(re.split(r"[/.]", file))] == []


@pytest.mark.parametrize("file", FILES)
def test_a_file_can_be_read_in_one_sitting(file: str) -> None:
    assert len((PACKAGE / file).read_text("utf-8").splitlines()) <= 600


def test_every_outside_import_is_a_declared_dependency() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))["project"]
    optional = project["optional-dependencies"]
    declared = project["dependencies"] + optional["convert"] + optional["excel"]
    names = {
        "orbax": "orbax-checkpoint",
        "sklearn": "scikit-learn",
        "charset_normalizer": "charset-normalizer",
        "PIL": "pillow",
    }
    through = {"traitlets", "IPython", "jupyter_core"}  # belong to ipywidgets, ipykernel and jupyterlab
    modules = {name for file in FILES for name in imports(ast.parse((PACKAGE / file).read_text("utf-8")))}
    outside = {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names) - {"labkit"} - through
    assert {names.get(name, name) for name in outside} <= {re.split(r"[<>=!\s]", line)[0] for line in declared}


@pytest.mark.parametrize(
    ("file", "source", "said"),
    [
        ("data/x.py", "from labkit.train.store import Store", "data/x.py: labkit.train is not below data"),
        ("data/x.py", "import labkit.models.bert", "labkit.models is not below data"),
        ("models/x.py", "from labkit import data", "labkit.data is not below models"),
        ("base/x.py", "def f():\n    from labkit.lab import fit", "labkit.lab is not below base"),
        ("train/x.py", "if 0:\n    import labkit.panels.live", "labkit.panels is not below train"),
        ("base/x.py", 'R = {"bert": "labkit.models.bert:BertConfig"}', "labkit.models is not below base"),
        ("tasks/x.py", "import labkit as lk", "imports labkit itself"),
        ("judge/x.py", "from ..train import step", "relative import"),
        ("train/x.py", "import plotly.graph_objects as go", "plotly has no place on floor 'train'"),
        ("x.py", "from IPython.display import display", "IPython has no place on floor 'roof'"),
        ("data/x.py", "import jax.numpy as jnp", "jax has no place on floor 'data'"),
        ("base/x.py", "from jax import Array", "jax has no place on floor 'base'"),
        ("data/x.py", "from labkit.base.shapes import Float", "labkit.base.shapes loads JAX"),
        ("models/x.py", "import torch", "torch has no place"),
    ],
)
def test_the_rule_finds_what_breaks_it(file: str, source: str, said: str) -> None:
    assert said in " ".join(violations(source, file))


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("base/shapes.py", "from jax import Array"),
        ("train/x.py", "from labkit.data.batch import Batches\nfrom labkit.models.bert import Bert\nimport optax"),
        ("tasks/x.py", "from labkit.tasks.task import Task\nfrom labkit.base.shapes import Float"),
        ("cli.py", "from labkit import lab, doctor\nimport typer"),
        ("models/__init__.py", 'models = {"bert": "labkit.models.bert:BertConfig"}'),
    ],
)
def test_the_rule_lets_pass_what_keeps_it(file: str, source: str) -> None:
    assert violations(source, file) == []
