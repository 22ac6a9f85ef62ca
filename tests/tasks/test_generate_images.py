"""Image generation: the DiT by shapes, loss and sampler by NumPy, scores by SciPy, and one short run."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from datasets import Array2D
from flax import nnx
from PIL import Image
from scipy.linalg import sqrtm
from typer.testing import CliRunner

import labkit as lk
from labkit.api import train
from labkit.app.steps.predict import Predict
from labkit.cli.main import app
from labkit.core.errors import ConfigError, DataError
from labkit.evaluate.generation import Describer, distances, frechet_distance, gaussian_pictures, inside
from labkit.models.vision.dit import DiTConfig
from labkit.tasks.generate_images import GenerateImages, fixed, signed

TINY = DiTConfig(width=16, depth=2, heads=2, mlp_width=24, patch=4)
SETTINGS = {"task": "generate-images", "epochs": 3, "batch_size": 32, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def rows():
    return lk.load("digits").sample(300, seed=0).split(validation=40, test=60, seed=0)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def run(rows, lab):
    made = lk.fit(rows, TINY, folder=lab, background=False, **SETTINGS)
    assert made.status == "finished", made.info.error
    return made


@pytest.fixture(scope="module")
def classifier(rows, lab):
    return lk.fit(
        rows,
        lk.models["mlp"](widths=(32,)),
        folder=lab,
        background=False,
        epochs=12,
        learning_rate=0.02,
        name="classifier",
    )


def test_a_dit_gives_a_velocity_of_the_shape_of_the_picture():
    model = TINY.replace(input_shape=(10, 7, 3), patch=4).build(nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 10, 7, 3)), jnp.float32)
    time, condition = jnp.asarray([0.1, 0.9]), jnp.ones((2, 16))
    velocity = jax.jit(lambda model, x: model(x, time, condition))
    assert velocity(model, x).shape == (2, 10, 7, 3) and not np.asarray(velocity(model, x)).any(), (
        "0 at first"
    )
    model.out.kernel[...] = jax.random.normal(jax.random.key(0), model.out.kernel.shape)
    found = np.asarray(velocity(model, x))
    other = np.asarray(velocity(model, jnp.stack([-x[0], x[1]])))
    assert other[1] == pytest.approx(found[1], abs=1e-5), "an answer does not depend on the other pictures"
    assert not np.allclose(other[0], found[0])
    with pytest.raises(ConfigError, match=r"DiTConfig\.width = 16 is not a multiple of heads = 3"):
        TINY.replace(heads=3)


def test_the_loss_by_numpy():
    head = GenerateImages().restore(("a", "b"))
    module = head.init(TINY.replace(input_shape=(8, 8, 1)), nnx.Rngs(0))
    module.backbone.out.kernel[...] = jax.random.normal(jax.random.key(1), module.backbone.out.kernel.shape)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
    batch = {
        "inputs": jnp.asarray(pixels), "label": jnp.asarray([0, 1, 0]), "weight": jnp.asarray([1.0, 2.0, 0.0]),
        "index": jnp.asarray([4, 7, -1]),
    }  # fmt: skip
    total, weight, sums = jax.jit(lambda batch: head.loss(module, batch, None))(batch)
    want, denoised = 0.0, 0.0
    velocity = jax.jit(lambda x, time, label: module(x, time, label))
    for place, (number, label, weighs) in enumerate([(4, 0, 1.0), (7, 1, 2.0)]):
        noise = np.asarray(jax.random.normal(fixed(jnp.asarray(number)), (8, 8, 1)))
        clean, time = pixels[place] / 127.5 - 1, (0.5 + 0.6180339887 * number) % 1
        mixed = jnp.asarray((1 - time) * noise + time * clean, jnp.float32)[None]
        found = np.asarray(velocity(mixed, jnp.asarray([time], jnp.float32), jnp.asarray([label])))[0]
        want += weighs * ((found - (clean - noise)) ** 2).mean()
        denoised += weighs * ((np.asarray(mixed[0]) + (1 - time) * found - clean) ** 2).mean()
    assert float(total) == pytest.approx(want, rel=1e-4) and float(weight) == 3.0
    scores = sums.merge(head.empty()).compute()
    assert scores == {"loss": pytest.approx(want / 3, rel=1e-4), "mse": pytest.approx(denoised / 3, rel=1e-3)}
    assert np.asarray(signed(jnp.asarray([0, 255], jnp.uint8).reshape(1, 1, 2, 1))).ravel().tolist() == [
        -1,
        1,
    ]


def test_the_sampler_solves_an_equation_with_a_known_solution():
    """x' = a(label) x has the solution x(1) = exp(a) x(0); guidance g has a = a(none) + g (a(label) - a(none))."""
    head, slope = GenerateImages().restore(("a", "b")), jnp.asarray([1.0, -1.0, 0.5])
    noise = jnp.asarray(np.random.default_rng(0).normal(size=(2, 2, 2, 1)), jnp.float32)

    def module(x, time, label):
        return slope[label][:, None, None, None] * x

    film = np.asarray(head.sample(module, noise, jnp.asarray([0, 1]), jnp.float32(1.5), 400, film=True))
    alone = head.sample(module, noise, jnp.asarray([0, 1]), jnp.float32(1.5), 400)
    assert alone.shape == (1, 2, 2, 2, 1) and np.asarray(alone[0]) == pytest.approx(film[-1])
    assert film.shape == (401, 2, 2, 2, 1) and np.array_equal(film[0], noise)
    for place, a in enumerate((0.5 + 1.5 * 0.5, 0.5 - 1.5 * 1.5)):
        assert film[-1, place] == pytest.approx(np.exp(a) * np.asarray(noise[place]), rel=5e-4)


def test_scores_by_scipy_and_by_loops():
    random = np.random.default_rng(0)
    one, two = random.normal(size=(40, 5)), random.normal(0.5, 2.0, size=(30, 5))
    spreads = [np.cov(each, rowvar=False) for each in (one, two)]
    want = ((one.mean(0) - two.mean(0)) ** 2).sum() + np.trace(
        spreads[0] + spreads[1] - 2 * np.real(sqrtm(spreads[0] @ spreads[1]))
    )
    assert frechet_distance(one, two) == pytest.approx(want, rel=1e-9)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    apart = lambda a, b: float(np.sqrt(((a - b) ** 2).sum()))  # noqa: E731
    radius = [sorted(apart(a, b) for b in one)[3] for a in one]
    assert inside(two, one).tolist() == [
        any(apart(a, b) <= r for b, r in zip(one, radius, strict=True)) for a in two
    ]
    pictures, known = (random.integers(0, 256, (n, 3, 3, 1)).astype(np.uint8) for n in (4, 9))
    far, place = distances(pictures, known)
    every = [[np.sqrt(((a.astype(float) - b) ** 2).mean()) for b in known] for a in pictures]
    assert far == pytest.approx(np.min(every, 1), rel=1e-4) and place.tolist() == np.argmin(every, 1).tolist()
    flat = np.full((20, 3, 3, 1), 7, np.uint8)
    assert (gaussian_pictures(flat, np.zeros(20, int), np.zeros(5, int)) == 7).all()


def test_a_run_learns_and_generates_the_same_pictures_again(run):
    losses = [each.value for each in run.store.records(run.id, split="validation") if each.name == "loss"]
    assert losses[-1] < losses[0] and {"loss", "mse"} <= run.evaluate().keys()
    made = run.generate_images(12, steps=3, seed=5, film=True)
    assert made.pixels.shape == (12, 8, 8, 1) and made.film.shape == (12, 4, 8, 8, 1)
    assert made.labels == (*"0123456789", "0", "1") and np.array_equal(made.film[:, -1], made.pixels)
    few = run.generate_images(2, ["0", "1"], steps=3, seed=5)
    assert np.abs(few.pixels.astype(int) - made.pixels[:2]).max() <= 1, "by seed and number, not by batch"
    assert not np.array_equal(run.generate_images(2, "7", steps=3, seed=5).pixels, few.pixels)
    assert not np.array_equal(run.generate_images(2, steps=3, seed=6).pixels, few.pixels)
    assert made._repr_png_().startswith(b"\x89PNG") and made.sheet().shape == (2 * 76, 8 * 76, 1)


def test_an_exported_model_generates_the_same(run, tmp_path):
    exported = run.export(tmp_path / "model", run.card())
    pipeline = lk.ImageGenerationPipeline(exported)
    assert np.array_equal(pipeline(3, "4", steps=3).pixels, run.generate_images(3, "4", steps=3).pixels)
    readme = (exported / "README.md").read_text()
    assert "image-generation" in readme and "lk.ImageGenerationPipeline" in readme
    with pytest.raises(lk.LabkitError, match=r"run\.generate_images\(\)"):
        lk.Predictor(exported)
    done = CliRunner().invoke(app, ["generate-images", str(exported), "--out", str(tmp_path / "out"), "--count", "2",
                                    "--label", "3", "--steps", "3"])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[1].split("\t")[1] == "3"
    with Image.open(tmp_path / "out" / "0001.png") as drawn:
        assert np.array_equal(np.asarray(drawn), run.generate_images(2, "3", steps=3).pixels[1, :, :, 0])


def test_a_report_compares_with_gaussians_and_real_pictures(run, classifier):
    report = run.generation_report(classifier, steps=3, guidance=1.0, count=30)
    assert set(report.scores) == {"fd", "precision", "recall", "accuracy", "nearest_ratio"}
    gaussian, real = report.baselines.values()
    assert real.scores["fd"] < report.scores["fd"], "three epochs do not make digits"
    assert gaussian.scores["accuracy"] > 0.7 and real.scores["accuracy"] > 0.7
    assert report.verdict.startswith("Worse than a baseline") and "fd" in repr(report)
    low, high = report.intervals["precision"]
    assert 0 <= low <= report.scores["precision"] <= high <= 1
    assert len(report.predictions()) == 30 and report.pictures.shape == (16, 2, 8, 8, 1)
    pipeline = lk.ImageGenerationPipeline(run.info.folder / "model")
    other = lk.Predictor(classifier.info.folder / "model")
    with pytest.raises(DataError, match=r"the classifier knows 0, 1.*; the model was trained with a, b"):
        Describer(other, pipeline.shape, ("a", "b"))
    with pytest.raises(DataError, match=r"the model makes \(9, 9, 1\)"):
        Describer(other, (9, 9, 1), pipeline.classes)


def test_training_resumes_bit_for_bit(run, rows, tmp_path):
    with pytest.raises(lk.LabkitError, match="the power was cut"):
        lk.fit(rows, TINY, folder=tmp_path, background=False, callbacks=[Cut()], **SETTINGS)
    (cut,) = lk.runs(tmp_path)
    assert cut.status == "failed" and 0 < cut.info.step < run.info.steps
    cut.resume().wait(600)
    assert cut.status == "finished"
    for name in ("loss", "mse"):
        assert cut.info.summary[f"validation_{name}"] == run.info.summary[f"validation_{name}"]


class Cut(lk.Callback):
    """Fails once, in the second epoch."""

    failed = False

    def on_step(self, progress, *more):
        if progress.step >= 9 and not Cut.failed:
            Cut.failed = True
            raise RuntimeError("the power was cut")


def test_copied_code_and_toml_give_the_same_run(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    exec(run.code(), scope)
    scope["run"].wait(600)
    (tmp_path / "experiment.toml").write_text(run.toml())
    for other in (scope["run"], train(tmp_path / "experiment.toml", folder=tmp_path / "other")):
        assert other.info.summary["validation_loss"] == run.info.summary["validation_loss"]


def test_the_step_predict_shows_pictures_and_the_film(run):
    panel = Predict(run, language="zh")
    panel.settle(120)
    panel.asking.count.value, panel.asking.steps.value, panel.asking.label.value = 3, 4, "2"
    panel.go.click()
    panel.settle(120)
    assert panel.problem is None, panel.problem
    assert panel.answer.value.count("<img") == 3 + 5 and "从噪声" in panel.answer.value
    assert "run.generate_images(3, '2', steps=4" in panel.code()
    assert panel.asking.link.name == "pictures.png"
    panel.close()


def test_what_cannot_be_generated_is_refused(run, rows, tmp_path):
    for wrong, said in (
        ({"label": "eleven"}, "unknown class 'eleven'"), ({"n": 0}, "n = 0 must be a number from 1"),
        ({"n": 2, "label": ["1"]}, "2 pictures with 1 labels"), ({"steps": 2.5}, "steps = 2.5"),
        ({"guidance": -1}, "guidance = -1"), ({"seed": -1}, "seed"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            run.generate_images(**wrong)
    bare = lk.fit(rows, TINY.replace(depth=1), folder=tmp_path, background=False, class_dropout=0.0,
                  **{**SETTINGS, "epochs": 1})  # fmt: skip
    assert len(bare.generate_images(2, steps=1)) == 2
    with pytest.raises(ConfigError, match="trained with class_dropout = 0"):
        bare.generate_images(2, steps=1, guidance=2.0)
    with pytest.raises(ConfigError, match=r"cnn does not support 'generate-images'.*: dit"):
        lk.fit(rows, "cnn", task="generate-images", folder=tmp_path)
    with pytest.raises(ConfigError, match=r"dit does not support 'classify'"):
        lk.fit(rows, "dit", task="classify", folder=tmp_path)
    with pytest.raises(DataError, match="the data is texts"):
        lk.fit(
            [{"text": "a", "label": n % 2} for n in range(30)], "dit", task="generate-images", folder=tmp_path
        )
    kind = Array2D((8, 8), "float32")
    outside = rows.with_splits({name: part.cast_column("image", kind) for name, part in rows.splits.items()})
    with pytest.raises(DataError, match="takes bytes, or numbers of 0 to 1"):
        lk.fit(outside, TINY, task="generate-images", folder=tmp_path)
