"""A user's own ``nnx.Module`` and optax rule train like labkit's: in Python, from TOML, detached, from packages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flax.linen
import numpy as np
import optax
import pytest
from flax import nnx
from typer.testing import CliRunner

import labkit as lk
from labkit.api import train
from labkit.cli.main import app
from labkit.core import plugins
from labkit.core.registry import REGISTRIES

MODULE = """
import jax.numpy as jnp
import optax
from flax import nnx


class Ring(nnx.Module):
    def __init__(self, input_shape, width: int = 32, depth: int = 2, rate: float = 0.1, *, rngs: nnx.Rngs):
        self.first = nnx.Linear(input_shape[0], width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.hidden = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(depth)])
        self.last = nnx.Sequential(nnx.Linear(width, width // 2, rngs=rngs), nnx.Dropout(rate, rngs=rngs))

    def __call__(self, x):
        x = self.dropout(nnx.relu(self.norm(self.first(x))))
        for layer in self.hidden:
            x = nnx.relu(layer(x))
        return self.last(x)


def bag(vocab_size, width: int = 16, *, rngs: nnx.Rngs) -> "Bag":
    return Bag(vocab_size, width, rngs)


class Bag(nnx.Module):
    def __init__(self, vocabulary, width, rngs):
        self.table = nnx.Embed(vocabulary, width, rngs=rngs)

    def __call__(self, ids, mask):
        return (self.table(ids) * mask[..., None]).sum(1) / jnp.maximum(mask.sum(1, keepdims=True), 1)


class Named(nnx.Module):
    def __init__(self, weights: str = "", *, rngs):
        pass


class Sequence(nnx.Module):
    def __init__(self, *, rngs):
        pass

    def __call__(self, x):
        return x[:, None]


def heavy_ball(momentum: float, start: float = 0.0):
    return optax.trace(momentum)


def downhill():
    return optax.adam(1e-3)


def nothing():
    return 3


def unknown(speed):
    return optax.identity()
"""
REGISTERS = (
    MODULE
    + """
import labkit as lk

lk.models.register("ring", Ring)
lk.optimizers.register("heavy", heavy_ball)
"""
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with modules of one's own; what they register is forgotten afterwards."""
    (tmp_path / "own_ring.py").write_text(MODULE)
    (tmp_path / "own_named.py").write_text(REGISTERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    kept = {kind: dict(registry.entries) for kind, registry in REGISTRIES.items()}
    yield tmp_path
    forget(kept)


def forget(kept: dict[str, dict[str, str]]) -> None:
    """Imports, registrations and permissions of this process, as in a new one."""
    for kind, entries in kept.items():
        REGISTRIES[kind].entries = dict(entries)
    for name in ("own_ring", "own_named"):
        sys.modules.pop(name, None)
    plugins.ALLOWED.clear()


def points(count: int = 400) -> list[dict[str, Any]]:
    table = np.random.default_rng(0).normal(size=(count, 2))
    return [{"x": x, "y": y, "label": "in" if x * x + y * y < 1.4 else "out"} for x, y in table.tolist()]


SETTINGS = {"epochs": 12, "batch_size": 32, "learning_rate": 0.1, "background": False}


def test_a_module_and_a_rule_of_ones_own_train_predict_and_are_exported(place: Path) -> None:
    import own_ring

    rows = lk.load(points(), label="label", features=True)
    run = lk.fit(rows, own_ring.Ring, optimizer=own_ring.heavy_ball, folder=place / "lab", **SETTINGS)
    assert run.evaluate().scores["accuracy"] > 0.85
    assert run.experiment.plugins == (
        "models.Ring = own_ring:Ring",
        "optimizers.heavy_ball = own_ring:heavy_ball",
    )
    assert 'lk.models.register("Ring", "own_ring:Ring")' in run.code().replace("'", '"')
    new = np.array([[0.0, 0.0], [1.5, -1.5]])
    assert [one.label for one in run.predict(new)] == ["in", "out"]
    again = lk.Predictor(run.export(place / "out"))
    np.testing.assert_array_equal(again.probabilities(new), run.predictor.probabilities(new))
    same = lk.fit(rows, lk.models["Ring"](width=32), optimizer="heavy_ball", folder=place / "lab", **SETTINGS)
    ours, theirs = ([(r.step, r.name, r.value) for r in each.store.records(each.id, split="train") if "/" not in r.name]
                    for each in (run, same))  # fmt: skip
    assert ours == theirs


def test_a_rule_of_ones_own_moves_as_optax_does(place: Path) -> None:
    import own_ring

    lk.optimizers.register("heavy", own_ring.heavy_ball)
    rule = lk.Optimizer(algorithm="heavy", momentum=0.5, weight_decay=0.0, clip=0.0).build({"a/kernel": True})
    plain = optax.trace(0.5)
    leaf = {"a/kernel": np.ones((2, 2), np.float32)}
    state, other = rule.init(leaf), plain.init(leaf)
    for _step in range(3):
        (ours, state), (theirs, other) = rule.update(leaf, state, leaf), plain.update(leaf, other, leaf)
        np.testing.assert_array_equal(ours["a/kernel"], theirs["a/kernel"])


def test_a_function_that_makes_a_module_of_texts(place: Path) -> None:
    import own_ring

    texts = [
        {"text": f"{word} film number {n}", "label": word} for n in range(60) for word in ("good", "dull")
    ]
    rows = lk.load(texts, label="label")
    run = lk.fit(rows, own_ring.bag, folder=place / "lab", vocabulary=100, accept_leakage=True, **SETTINGS)
    assert run.predict("a good film").label == "good" and run.experiment.model.vocab_size is None


def test_a_toml_file_with_plugins_runs_on_the_command_line(place: Path) -> None:
    lines = ["x,y,label", *(f"{row['x']},{row['y']},{row['label']}" for row in points())]
    (place / "points.csv").write_text("\n".join(lines))
    (place / "ring.toml").write_text("""
plugins = ["own_named"]
[model]
name = "ring"
width = 16
[data]
source = "points.csv"
options = {label = "label", features = true}
[train]
epochs = 2
batch_size = 32
[train.optimizer]
algorithm = "heavy"
""")
    sys.path.remove("")  # as a console script has it
    found = CliRunner().invoke(app, ["train", "ring.toml", "--folder", str(place / "lab")])
    assert found.exit_code == 0, found.output
    (run,) = lk.runs(place / "lab")
    assert (
        run.status == "finished"
        and run.experiment.plugins == ("own_named",)
        and run.experiment.model.width == 16
    )
    sys.path.remove(str(place))


@pytest.mark.slow
def test_a_detached_run_imports_the_module(place: Path) -> None:
    import own_ring

    rows = lk.load(points(120), label="label", features=True)
    settings = {**SETTINGS, "epochs": 1}
    run = lk.fit(rows, own_ring.Ring, folder=place / "lab", detach=True, **settings)
    assert run.wait(300).status == "finished"


def test_a_detached_run_whose_module_another_process_cannot_import_is_refused(
    place: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    import own_ring

    rows = lk.load(points(40), label="label", features=True)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    with pytest.raises(lk.LabkitError, match=r"module 'own_ring'.*put that folder on PYTHONPATH"):
        lk.fit(rows, own_ring.Ring, folder=place / "lab", detach=True)
    (elsewhere / "own_ring.py").write_text("")  # another module of this name
    with pytest.raises(lk.LabkitError, match="module 'own_ring'"):
        lk.fit(rows, own_ring.Ring, folder=place / "lab", detach=True)
    inline = type("Inline", (own_ring.Ring,), {"__module__": "__main__", "__qualname__": "Inline"})
    monkeypatch.setattr(sys.modules["__main__"], "Inline", inline, raising=False)
    with pytest.raises(lk.LabkitError, match=r"defined in the notebook or script.*Move it to a module"):
        lk.fit(rows, inline, folder=place / "lab", detach=True)
    assert len(lk.runs(place / "lab")) == 0


@pytest.mark.parametrize(
    ("model", "optimizer", "message"),
    [
        (nnx.Linear, "adamw", r"Linear: the parameter 'in_features.*is a setting, so it needs a default"),
        (flax.linen.Dense, "adamw", "Dense is no architecture: give a class of nnx.Module"),
        ("Named", "adamw", "Named: the parameter 'weights' has the name of something that every config has"),
        ("Sequence", "adamw", r"Sequence must return one vector for each example.*\[2, 1, 2\]"),
        ("Ring", "downhill", "'downhill' gives updates against the gradient.*scale_by_adam"),
        ("Ring", "nothing", "'nothing' returns a int; it must be an optax.GradientTransformation"),
        ("Ring", "unknown", "'unknown': 'speed' is no setting of Optimizer"),
        ("Ring", optax.adam(1e-3), "a function that returns an optax.GradientTransformation"),
    ],
)
def test_what_cannot_be_trained_is_refused(place: Path, model: Any, optimizer: Any, message: str) -> None:
    import own_ring

    model = getattr(own_ring, model) if isinstance(model, str) else model
    optimizer = getattr(own_ring, optimizer, optimizer) if isinstance(optimizer, str) else optimizer
    rows = lk.load(points(40), label="label", features=True)
    with pytest.raises(lk.LabkitError, match=message):
        lk.fit(rows, model, optimizer=optimizer, folder=place / "lab", **SETTINGS)


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        ('["no_such_module"]', "plugin 'no_such_module' cannot be imported: ModuleNotFoundError"),
        ('["own ring"]', "'own ring' is neither a module"),
        ('["models.ring = own_ring"]', "is neither a module"),
        ('["own_ring:Ring"]', "is neither a module"),
        ('"own_ring"', r"must be a list of modules"),
        (
            '["models.bert = own_ring:Ring"]',
            "'bert' is already registered as labkit.models.bert.model:BertConfig",
        ),
    ],
)
def test_plugins_that_are_none_are_refused(place: Path, plugins: str, message: str) -> None:
    (place / "e.toml").write_text(f'plugins = {plugins}\n[model]\nname = "mlp"\n')
    with pytest.raises(lk.LabkitError, match=message):
        train(place / "e.toml", folder=place / "lab")


@pytest.fixture
def exported(place: Path) -> Path:
    """A model folder whose architecture is of a module that this process has not imported."""
    kept = {kind: dict(registry.entries) for kind, registry in REGISTRIES.items()}
    import own_ring

    rows = lk.load(points(60), label="label", features=True)
    run = lk.fit(rows, own_ring.Ring, folder=place / "lab", **{**SETTINGS, "epochs": 1})
    folder = run.export(place / "out")
    (folder / "labkit-manifest.json").unlink()  # so that its settings can be changed
    forget(kept)
    return folder


def test_a_model_folder_imports_nothing_that_was_not_allowed(exported: Path, place: Path) -> None:
    for opened in (lk.Predictor, lk.EmbeddingPipeline, lk.TextGenerationPipeline, lk.serve):
        with pytest.raises(
            lk.LabkitError, match=r"plugin 'models.Ring = own_ring:Ring'.*plugins=\['own_ring'\]"
        ):
            opened(exported)
    with pytest.raises(lk.LabkitError, match="must be a list of modules"):
        lk.Predictor(exported, plugins="own_ring")  # type: ignore[arg-type]
    words = ["predict", str(exported), "--file", str(place / "new.csv")]
    (place / "new.csv").write_text("x,y\n0,0\n")
    found = CliRunner().invoke(app, words)
    assert "--plugin own_ring" in found.output + found.stderr and found.exit_code
    assert "own_ring" not in sys.modules
    assert CliRunner().invoke(app, [*words, "--plugin", "own_ring"]).exit_code == 0
    assert len(lk.Predictor(exported, plugins=["own_ring"]).predict(np.zeros((2, 2)))) == 2


def test_what_a_run_of_ones_own_lab_names_is_imported(exported: Path, place: Path) -> None:
    assert lk.runs(place / "lab")[0].predict(np.zeros((1, 2)))[0].label in ("in", "out")
    lk.Predictor(exported)  # from now on in this process


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("models.Ring = os:abort", "os"),  # imported already, but never registered
        ("models.Ring = own_ring:optax.adam", "own_ring"),  # what an allowed module imports
        ("optimizers.adamw = os:abort", "os"),
        ("this", "this"),
        ("tasks.classify = own_other:Classify", "own_other"),
    ],
)
def test_settings_from_elsewhere_cannot_name_other_code(
    exported: Path, entry: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)
    settings = (exported / "labkit.toml").read_text()
    (exported / "labkit.toml").write_text(settings.replace("models.Ring = own_ring:Ring", entry))
    with pytest.raises(lk.LabkitError, match=f"importing its module '{name}' runs the code in it"):
        lk.Predictor(exported, plugins=["own_ring"])
    assert "this" not in sys.modules


def test_a_class_that_is_gone_is_named(place: Path) -> None:
    lk.models.register("gone", "own_ring:Gone")
    with pytest.raises(lk.LabkitError, match="'gone' is own_ring:Gone, which cannot be imported"):
        lk.models["gone"]


def test_an_installed_package_adds_entries(tmp_path: Path) -> None:
    (tmp_path / "packaged.py").write_text(
        'import labkit as lk\nlk.tasks.register("packaged", "packaged:Task")\n'
    )
    info = tmp_path / "packaged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: packaged\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[labkit.plugins]\npackaged = packaged\nbroken = no_such_module\n")
    code = "import labkit as lk; print('packaged' in lk.tasks, 'packaged' in list(lk.tasks))"
    path = os.pathsep.join([str(tmp_path), str(Path(lk.__file__).parent.parent)])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["True", "True"], done.stderr
    assert "plugin 'broken' (no_such_module) cannot be loaded" in done.stderr
