"""The extras of the package: what the light core does without them, and what a missing one prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import labkit as lk
from labkit.core.extras import EXTRAS

ROOT = Path(__file__).parents[2]
PACKAGES = {"orbax": "orbax-checkpoint", "sklearn": "scikit-learn"}

#: Hides the modules of the extras from ``python -c``; what follows is run without them.
HIDE = """
import importlib.abc, sys
hidden = {hidden!r}
class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hide())
"""


def without(hidden: set[str], code: str) -> str:
    """The output of some code in a process that lacks the modules ``hidden``."""
    command, env = (
        [sys.executable, "-c", HIDE.format(hidden=hidden) + code],
        {**os.environ, "PYTHONPATH": str(ROOT)},
    )
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_table_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {
        extra: {re.split(r"[<>=!\[ ]", line)[0].replace("-", "_") for line in lines}
        for extra, lines in {**project["optional-dependencies"], "": project["dependencies"]}.items()
    }
    for extra, modules in EXTRAS.items():
        packages = {PACKAGES.get(module, module).replace("-", "_") for module in modules}
        assert packages <= names[extra] and not packages & names[""]


def test_the_core_loads_and_predicts_and_names_the_extra_of_the_rest(tmp_path: Path) -> None:
    model = tmp_path / "model"
    lk.fit(lk.load(ROOT / "tests/reviews.csv"), "textcnn", epochs=1, folder=tmp_path / "lab").export(model)
    hidden = {module for modules in EXTRAS.values() for module in modules} | {
        "IPython",
        "traitlets",
        "jupyter_core",
    }
    code = f"""
import labkit as lk
from typer.testing import CliRunner
from labkit.cli.main import app

rows = lk.load("tests/reviews.csv")
print(len(rows["train"]), lk.Predictor({str(model)!r}).predict(["good"])[0].label)

run = CliRunner().invoke(app, ["predict", {str(model)!r}, "good"])
assert run.exit_code == 0, run.output

endpoint = lk.serve({str(model)!r})
endpoint.close()

for name, call in {{
    "fit": lambda: lk.fit(rows, "textcnn"), "Lab": lambda: lk.Lab(), "panels": lambda: lk.panels.Data(rows),
    "picture": lambda: lk.picture(None), "compare": lambda: lk.compare(None, None),
}}.items():
    try:
        call()
    except lk.LabkitError as error:
        print(name, error)
for words in (["lab", "x"], ["app", "x"], ["train", "experiment.toml"]):
    done = CliRunner().invoke(app, words)
    print(words[0], done.exit_code, done.stderr.strip())
"""
    lines = without(hidden, code).splitlines()
    assert re.fullmatch(r"\d+ \w+", lines[0])
    found = {line.split()[0]: re.findall(r"pip install 'labkit\[(\w+)\]'$", line) for line in lines[1:]}
    assert found == {
        "fit": ["train"], "Lab": ["lab"], "panels": ["lab"], "picture": ["lab"], "compare": ["train"],
        "lab": ["lab"], "app": ["lab"], "train": ["train"],
    }  # fmt: skip


def test_training_in_a_terminal_needs_no_lab(tmp_path: Path) -> None:
    code = f"""
import labkit as lk

rows = lk.load("tests/reviews.csv")
run = lk.fit(rows, lk.models["textcnn"](), epochs=1, folder={str(tmp_path)!r})
print(run.status, round(run.evaluate().scores["f1"], 2))
"""
    assert re.fullmatch(
        r"finished 0\.\d+", without({*EXTRAS["lab"], *EXTRAS["app"], "IPython"}, code).strip()
    )
