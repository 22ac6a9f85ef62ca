"""The house rule: imports go down only, no circle between files, and each room uses only its own outside packages.

All imports count, those inside functions and under TYPE_CHECKING too, and so do the lazy ones: strings like
``"labkit.models.bert.model:BertConfig"``.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "labkit"

#: Room → height. Rooms of equal height do not import each other; files directly in labkit/ may import all but ``cli``.
HEIGHT = {
    "i18n": 0,
    "core": 1,
    "hub": 2,
    "data": 3,
    "models": 3,
    "profile": 2,
    "tasks": 4,
    "train": 5,
    "runs": 6,
    "explain": 7,
    "inference": 8,
    "evaluate": 9,
    "search": 10,
    "retrieval": 10,
    "viz": 11,
    "app": 12,
    "course": 13,
    "": 14,
    "cli": 15,
}

_ANYWHERE = {"numpy", "jaxtyping", "tqdm"}
_JAX = {"jax", "flax", "optax"}
#: Room → outside packages, beside the standard library.
OUTSIDE = {
    "i18n": set(),
    "core": {"tomli_w"},
    "hub": {"huggingface_hub", "safetensors", "h5py", "gguf", "datasets", "pyarrow", "yaml", "scipy", "PIL"},
    "data": {
        "datasets",
        "pyarrow",
        "pandas",
        "tokenizers",
        "jinja2",
        "scipy",
        "charset_normalizer",
        "PIL",
        "openpyxl",
    },
    "models": {"jax", "flax", "qwix"},
    "profile": {"jax", "psutil"},
    "tasks": _JAX,
    "train": {*_JAX, "datasets", "orbax", "psutil", "safetensors", "scipy", "dp_accounting"},
    "runs": {"jax", "pandas", "psutil", "tensorboardX", "google", "mlflow", "trackio", "wandb"},
    "explain": {"jax", "flax", "pandas"},
    "inference": {"jax", "flax", "pandas", "datasets", "tokenizers", "onnx", "onnxruntime"},
    "evaluate": {"sklearn", "scipy", "pandas", "jax", "flax", "datasets", "threadpoolctl"},
    "search": {"scipy", "pandas", "optuna", "datasets"},
    "retrieval": {"scipy", "pandas", "pypdf"},
    "viz": {"plotly", "pandas", "jax", "PIL"},
    "app": {"datasets", "ipywidgets", "anywidget", "IPython", "ipykernel", "jupyter_client", "traitlets"},
    "course": set(),
    "": {"pandas"},
    "cli": {"typer", "rich", "packaging", "psutil", "jupyter_core", "markdown_it", "pygments"},
}
#: This file names array types and so loads JAX; only rooms that have JAX may import it.
SHAPES = "core/shapes.py"
LAZY = re.compile(r"(labkit(?:\.\w+)+):\w+")


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that a file imports, with ``from labkit.data import rows`` as labkit.data.rows."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
            if node.module and node.module.partition(".")[0] == "labkit":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and (lazy := LAZY.fullmatch(node.value))
        ):
            yield lazy[1]


def room_of(file: str) -> str:
    return file.partition("/")[0] if "/" in file else ""


def violations(source: str, file: str) -> list[str]:
    """What a file (named relative to labkit/) may not import; empty when all is well."""
    room = room_of(file)
    found = set()
    for module in imports(ast.parse(source)):
        top, _, rest = module.partition(".")
        if not top:
            found.add(f"{file}: relative import")
        elif top == "labkit":
            found.update(_inside(room, file, rest))
        elif top not in sys.stdlib_module_names and not _allowed(room, file, top):
            found.add(f"{file}: {top} is no package of room {room!r}")
    return sorted(found)


def _inside(room: str, file: str, module: str) -> Iterator[str]:
    if not module:
        if room not in ("", "cli"):
            yield f"{file}: imports labkit itself, which is above all rooms"
        return
    target = module.partition(".")[0]
    target = target if target in HEIGHT else ""
    if file in ("__init__.py", "__main__.py") or target == room:
        return
    if HEIGHT[target] >= HEIGHT[room]:
        yield f"{file}: labkit.{module.partition('.')[0]} is not below {room or 'labkit'}"
    if module.startswith("core.shapes") and "jax" not in OUTSIDE[room]:
        yield f"{file}: labkit.core.shapes loads JAX"


def _allowed(room: str, file: str, top: str) -> bool:
    return top in _ANYWHERE | OUTSIDE[room] or (file == SHAPES and top == "jax")


#: The benchmarks import the peers; the Python of a peer runs their workers without labkit, by relative imports.
FILES = sorted(
    path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.parent.name != "benchmarks"
)
#: Lazy tables of public names, and the command that starts any other.
HUBS = {"__init__", "__main__"}


@pytest.mark.parametrize("file", FILES)
def test_imports_go_down_only(file: str) -> None:
    assert violations((PACKAGE / file).read_text("utf-8"), file) == []


def test_every_folder_is_a_room_and_none_is_a_drawer() -> None:
    folders = {
        path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE
    }
    assert folders <= {*HEIGHT, "benchmarks"}
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
    assert [file for file in FILES if drawers & set(re.split(r"[/.]", file))] == []


def test_no_two_public_classes_have_one_name() -> None:
    found: dict[str, list[str]] = {}
    for file in (file for file in FILES if room_of(file) != "benchmarks"):
        for node in ast.parse((PACKAGE / file).read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(file)
    assert {name: files for name, files in found.items() if len(files) > 1} == {}


#: Methods and attributes that classes of the standard library call.
OVERRIDES = {"daemon_threads", "request_queue_size", "handle_error", "readinto", "log_request"}
OVERRIDES |= {"handle_starttag", "handle_endtag", "handle_data"}


def test_no_public_name_is_used_by_tests_alone() -> None:
    """Every public function, class and method is named at a second place in the package, the lessons or the guides."""
    root = PACKAGE.parent
    texts = [path for kind in ("py", "js") for path in PACKAGE.rglob(f"*.{kind}")]
    texts += [*root.glob("notebooks/*.ipynb"), *PACKAGE.glob("docs/*.md"), *PACKAGE.glob("docs/how-to/*.md")]
    words = Counter(word for path in texts for word in re.findall(r"\w+", path.read_text("utf-8")))
    unused = []
    for file in FILES:
        for node in ast.walk(ast.parse((PACKAGE / file).read_text("utf-8"))):
            plain = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if plain and words[node.name] == 1 and node.name not in OVERRIDES and not called_by_name(node):
                unused.append(f"{file}: {node.name}")
    assert unused == []


def called_by_name(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Whether a decorator enters it into a table of commands."""
    return any(".command(" in ast.unparse(each) for each in node.decorator_list)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of files that import each other, directly or not (Tarjan's strongly connected components)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in graph[name]:
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in order:
            visit(name)
    return found


def test_no_files_import_each_other() -> None:
    modules = {file.removesuffix(".py").replace("/", "."): file for file in FILES}
    graph = {}
    for name, file in modules.items():
        names = {
            module.removeprefix("labkit.")
            for module in imports(ast.parse((PACKAGE / file).read_text("utf-8")))
        }
        graph[name] = (
            {other for other in names if other in modules and other != name} if name not in HUBS else set()
        )
    assert circles(graph) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_every_outside_import_is_a_declared_dependency() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))["project"]
    optional = project["optional-dependencies"]
    extras = ("train", "lab", "convert", "excel", "optuna", "privacy", "pdf", "quantize", "onnx")
    extras += ("tensorboard", "mlflow", "trackio", "wandb")
    declared = [line for extra in extras for line in optional[extra]]
    declared += project["dependencies"]
    names = {
        "orbax": "orbax-checkpoint",
        "sklearn": "scikit-learn",
        "charset_normalizer": "charset-normalizer",
        "PIL": "pillow",
        "markdown_it": "markdown-it-py",
        "dp_accounting": "dp-accounting",
        "yaml": "pyyaml",
    }
    # belong to ipywidgets, ipykernel and jupyterlab; google.protobuf to tensorboardX and wandb
    through = {"traitlets", "IPython", "jupyter_core", "google"}
    modules = {name for file in FILES for name in imports(ast.parse((PACKAGE / file).read_text("utf-8")))}
    outside = (
        {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names) - {"labkit"} - through
    )
    assert {names.get(name, name) for name in outside} <= {
        re.split(r"[<>=!\s]", line)[0] for line in declared
    }


@pytest.mark.parametrize(
    ("file", "source", "said"),
    [
        ("data/x.py", "from labkit.runs.store import Store", "data/x.py: labkit.runs is not below data"),
        ("data/io/x.py", "import labkit.models.mlp", "labkit.models is not below data"),
        ("models/x.py", "from labkit import data", "labkit.data is not below models"),
        ("core/x.py", "def f():\n    from labkit.api import fit", "labkit.api is not below core"),
        ("train/x.py", "if 0:\n    import labkit.app.live", "labkit.app is not below train"),
        ("core/x.py", 'R = {"mlp": "labkit.models.mlp:MlpConfig"}', "labkit.models is not below core"),
        ("tasks/x.py", "import labkit as lk", "imports labkit itself"),
        ("evaluate/x.py", "from ..train import step", "relative import"),
        ("train/x.py", "import plotly.graph_objects as go", "plotly is no package of room 'train'"),
        ("x.py", "from IPython.display import display", "IPython is no package of room ''"),
        ("x.py", "from labkit.cli import main", "labkit.cli is not below labkit"),
        ("data/x.py", "import jax.numpy as jnp", "jax is no package of room 'data'"),
        ("core/x.py", "from jax import Array", "jax is no package of room 'core'"),
        ("data/x.py", "from labkit.core.shapes import Float", "labkit.core.shapes loads JAX"),
        ("models/x.py", "import torch", "torch is no package"),
    ],
)
def test_the_rule_finds_what_breaks_it(file: str, source: str, said: str) -> None:
    assert said in " ".join(violations(source, file))


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("core/shapes.py", "from jax import Array"),
        (
            "train/x.py",
            "from labkit.data.rows import Rows\nfrom labkit.models.mlp import MlpConfig\nimport optax",
        ),
        ("tasks/x.py", "from labkit.tasks.task import Task\nfrom labkit.core.shapes import Float"),
        ("cli/x.py", "from labkit import api\nfrom labkit.cli import doctor\nimport typer"),
        ("models/__init__.py", 'models = {"mlp": "labkit.models.mlp:MlpConfig"}'),
    ],
)
def test_the_rule_lets_pass_what_keeps_it(file: str, source: str) -> None:
    assert violations(source, file) == []
