"""Segmentation: the U-Net by shapes, loss and IoU by NumPy and scikit-learn, one short run that many tests read."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from sklearn.metrics import f1_score, jaccard_score
from typer.testing import CliRunner

import labkit as lk
from labkit.api import train
from labkit.cli.main import app
from labkit.core.errors import ConfigError, DataError
from labkit.data.masks import UNKNOWN, masks_of
from labkit.evaluate.segmentation import ColourTable, SegmentationReport, boundaries
from labkit.models.vision.unet import PixelVectors, UNetConfig, doubled
from labkit.tasks.segment import PixelClassifier, Segment, SegmentationSums, iou, soft_dice

TINY = UNetConfig(widths=(4, 8), norm="group")
SETTINGS = {"epochs": 3, "batch_size": 8, "learning_rate": 0.02, "class_weights": "root", "augment": "flip"}


def scene(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A dark picture with a bright rectangle; three grey levels of the mask, and a corner of unknown class."""
    picture = random.integers(0, 80, (20, 24, 3)).astype(np.uint8)
    mask = np.zeros((20, 24), np.uint8)
    top, left = random.integers(2, 10, 2)
    picture[top : top + 7, left : left + 8] += 150
    mask[top : top + 7, left : left + 8] = 1
    picture[:, -3:, 2] = 255
    mask[:, -3:] = 2
    mask[-1, 0] = UNKNOWN
    return picture, mask


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place, random = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    for name in ("images", "masks"):
        (place / name).mkdir()
    for number in range(30):
        picture, mask = scene(random)
        Image.fromarray(picture).save(place / "images" / f"{number:02}.png")
        Image.fromarray(mask).save(place / "masks" / f"{number:02}.png")
    return place


@pytest.fixture(scope="module")
def rows(folder):
    return lk.load(str(folder), classes=["ground", "house", "water"]).split(validation=6, test=8)


@pytest.fixture(scope="module")
def run(rows, tmp_path_factory):
    made = lk.fit(rows, TINY, folder=tmp_path_factory.mktemp("lab"), background=False, **SETTINGS)
    assert made.status == "finished", made.info.error
    return made


def test_a_unet_makes_a_vector_of_every_pixel_of_any_size():
    model = UNetConfig(widths=(4, 8, 12), input_shape=(10, 7, 3)).build(nnx.Rngs(0))
    x = np.random.default_rng(0).random((2, 10, 7, 3)).astype(np.float32)
    vectors = jax.jit(lambda x: model(x).hidden)
    found = np.asarray(vectors(jnp.asarray(x)))
    assert found.shape == (2, 10, 7, 4) and np.isfinite(found).all()
    other = np.asarray(vectors(jnp.asarray(np.stack([1 - x[0], x[1]]))))
    assert other[1] == pytest.approx(found[1], abs=1e-5), "an answer does not depend on the other pictures"
    dark = UNetConfig(widths=(4, 8, 12), input_shape=(10, 7, 3), gamma=0.5).build(nnx.Rngs(0))
    roots = np.asarray(jax.jit(lambda x: dark(x).hidden)(jnp.asarray(x**2)))
    assert roots == pytest.approx(found, abs=0.02), "equal but for the darkest pixels"
    square = jnp.arange(6.0).reshape(1, 2, 3, 1)
    assert np.array_equal(doubled(square)[0, :, :, 0], np.kron(square[0, :, :, 0], np.ones((2, 2))))
    paper = UNetConfig(preset="paper", input_shape=(64, 64, 1))
    assert paper.width == 64 and paper.depth == 22
    with pytest.raises(ConfigError, match="two to eight numbers"):
        UNetConfig(widths=(8,))


def pixels_of(path) -> np.ndarray:
    with Image.open(path) as file:
        return np.asarray(file)


def batch_of(random: np.random.Generator) -> dict[str, jax.Array]:
    mask = random.integers(0, 3, (3, 6, 5)).astype(np.uint8)
    mask[0, :2] = UNKNOWN
    mask[2] = 0
    return {
        "inputs": jnp.asarray(random.random((3, 6, 5, 2)), jnp.float32), "mask": jnp.asarray(mask),
        "weight": jnp.asarray([1.0, 1.0, 0.0]), "label": jnp.zeros(3, jnp.int32), "index": jnp.arange(3),
    }  # fmt: skip


def test_loss_and_scores_by_numpy_and_scikit_learn():
    weights = (1.0, 2.0, 0.5)
    head = Segment(loss_weights=weights).restore(("a", "b", "c"))
    module = head.init(UNetConfig(widths=(4, 8), input_shape=(6, 5, 2)), nnx.Rngs(0))
    module.head.kernel[...] = jax.random.normal(jax.random.key(1), module.head.kernel.shape)
    batch = batch_of(np.random.default_rng(0))
    total, weight, sums = jax.jit(lambda batch: head.loss(module, batch, None))(batch)
    logits, mask = (
        np.asarray(jax.jit(lambda batch: module(batch))(batch), np.float64),
        np.asarray(batch["mask"]),
    )
    log = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    want, weighed, truth, given = 0.0, 0.0, [], []
    for row, y, x in np.ndindex(2, 6, 5):  # the third picture is filler
        if (kind := int(mask[row, y, x])) != UNKNOWN:
            want -= weights[kind] * log[row, y, x, kind]
            weighed += weights[kind]
            truth.append(kind)
            given.append(int(logits[row, y, x].argmax()))
    assert float(total) == pytest.approx(want, rel=1e-4) and float(weight) == pytest.approx(weighed)
    scores = sums.merge(head.empty()).compute()
    each = jaccard_score(truth, given, average=None, labels=[0, 1, 2])
    assert [scores[f"iou/{n}"] for n in range(3)] == pytest.approx(each)
    assert scores["miou"] == pytest.approx(each.mean())
    assert scores["accuracy"] == pytest.approx(np.mean(np.equal(truth, given)))
    assert scores["loss"] == pytest.approx(want / weighed, rel=1e-4)


def test_the_dice_loss_by_numpy():
    random = np.random.default_rng(0)
    logits, truth = random.normal(size=(2, 3, 4, 3)), random.integers(0, 2, (2, 3, 4))
    known = random.random((2, 3, 4)) < 0.7
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    want = []
    for kind in range(2):  # the third class has no pixel: it is left out
        p, t = chances[..., kind][known], (truth == kind)[known]
        want.append((2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))
    found = soft_dice(jnp.asarray(logits, jnp.float32), jnp.asarray(truth), jnp.asarray(known))
    assert float(found) == pytest.approx(np.mean(want), rel=1e-5)
    batch = batch_of(random)
    losses = []
    for dice in (0.0, 0.5):
        head = Segment(dice=dice).restore(("a", "b", "c"))
        module = head.init(UNetConfig(widths=(4, 8), input_shape=(6, 5, 2)), nnx.Rngs(0))
        total, weight, _sums = jax.jit(
            lambda batch, head=head, module=module: head.loss(module, batch, None)
        )(batch)
        losses.append(float(total / weight))
    shown = jnp.where(batch["mask"] == UNKNOWN, 0, batch["mask"]).astype(jnp.int32)
    seen = (batch["mask"] != UNKNOWN) & (batch["weight"] > 0)[:, None, None]
    dice = float(soft_dice(module(batch), shown, seen))
    assert losses[1] - losses[0] == pytest.approx(0.5 * (1 - dice), rel=1e-4)


def test_pixels_are_counted_beyond_32_bits():
    part = SegmentationSums.of(
        jnp.float32(0), jnp.float32(1), jnp.asarray([[2**30, 5], [1, 2**24 - 1]], jnp.int32)
    )
    whole = SegmentationSums.empty(2)
    for _unused in range(9):
        whole = whole.merge(part)
    assert whole.confusion.tolist() == [[9 * 2**30, 45], [9, 9 * (2**24 - 1)]]
    assert np.isnan(iou(np.array([[4, 0, 0], [0, 0, 0], [2, 0, 2]]))[1])


def test_pictures_and_masks_are_augmented_alike():
    head = Segment(augment="shift-flip").restore(("a", "b"))

    class Same(nnx.Module):
        def __call__(self, inputs, *, key=None, real=None):
            return PixelVectors(inputs)

    module = PixelClassifier(Same(), 1, 2, nnx.Rngs(0))
    module.head.kernel[...], module.head.bias[...] = jnp.asarray([[-20.0, 20.0]]), jnp.asarray([10.0, -10.0])
    random = np.random.default_rng(0)
    mask = random.integers(0, 2, (8, 16, 16)).astype(np.uint8)
    batch = {
        "inputs": jnp.asarray(mask[..., None], jnp.float32),
        "mask": jnp.asarray(mask),
        "weight": jnp.ones(8),
    }
    loss = jax.jit(lambda key: head.loss(module, batch, key)[1:])
    for seed in range(3):
        weight, sums = loss(jax.random.key(seed))
        scores = sums.compute()
        assert scores["accuracy"] == 1.0, "a pixel and its class move together"
        assert 0 < float(weight) < mask.size, "pixels that a shift brings in have no class"


def test_one_step_trains_every_parameter_but_counts_no_filler():
    head = Segment().restore(("a", "b", "c"))
    module = head.init(UNetConfig(widths=(4, 8), input_shape=(6, 5, 2)), nnx.Rngs(0))
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    batch = batch_of(np.random.default_rng(0))

    def loss(params, batch):
        total, weight, _sums = head.loss(nnx.merge(graph, params, rest, copy=True), batch, jax.random.key(0))
        return total / weight

    gradient = jax.jit(jax.grad(loss))
    slopes = gradient(params, batch)
    for leaf, slope in zip(jax.tree.leaves(params), jax.tree.leaves(slopes), strict=True):
        assert slope.shape == leaf.shape and slope.dtype == leaf.dtype and bool(jnp.isfinite(slope).all())
    other = {**batch, "inputs": batch["inputs"].at[2].set(9.0)}
    for one, two in zip(jax.tree.leaves(slopes), jax.tree.leaves(gradient(params, other)), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_weights_by_the_pixels_of_the_training_rows(rows):
    pixels = np.bincount(masks_of(rows["train"]).reshape(-1), minlength=256)[:3]
    share = pixels / pixels.sum()
    for how, power in (("balanced", -1.0), ("root", -0.5)):
        found = np.array(Segment(class_weights=how).for_rows(rows).loss_weights)
        assert found == pytest.approx(share**power / (share**power * share).sum(), rel=1e-4)
    assert Segment().for_rows(rows).loss_weights == ()
    with pytest.raises(ConfigError, match=r"are 2; the masks have the classes ground, house, water"):
        Segment(loss_weights=(1.0, 2.0)).for_rows(rows)
    with pytest.raises(ConfigError, match="must be positive"):
        Segment(loss_weights=(1.0, 0.0))


def test_a_report_has_iou_of_the_whole_and_intervals_by_picture():
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, (20, 9, 8)).astype(np.uint8)
    found = np.where(random.random(truth.shape) < 0.3, random.integers(0, 3, truth.shape), truth).astype(
        np.uint8
    )
    truth[:, 0] = UNKNOWN
    report = SegmentationReport(truth, found, np.arange(20), ("a", "b", "c"))
    known = truth != UNKNOWN
    each = jaccard_score(truth[known], found[known], average=None)
    assert [report.scores[f"iou {name}"] for name in "abc"] == pytest.approx(each)
    assert report.scores["miou"] == pytest.approx(each.mean())
    low, high = report.intervals["miou"]
    assert low < report.scores["miou"] < high and high - low < 0.2
    table = report.compare({"same": report})
    assert table.loc["same", ["gain", "gain_low", "gain_high"]].tolist() == [0, 0, 0]
    assert report.confusion.to_numpy().sum() == known.sum()
    perfect = SegmentationReport(
        truth, np.where(known, truth, 0).astype(np.uint8), np.arange(20), ("a", "b", "c")
    )
    assert perfect.scores["miou"] == 1 and perfect.intervals["miou"][0] < 1
    with pytest.raises(DataError, match="on other rows"):
        report.with_baselines({"x": SegmentationReport(truth[::-1], found, np.arange(20), ("a", "b", "c"))})


def test_boundary_pixels_by_loops():
    random = np.random.default_rng(1)
    truth = (np.kron(random.integers(0, 2, (3, 3)), np.ones((4, 4))) > 0).astype(np.uint8)[None]
    found = np.roll(truth, 2, axis=2)
    counts = boundaries(truth, found, 2)[0]

    def edge(mask: np.ndarray, kind: int) -> np.ndarray:
        made = np.zeros(mask.shape, bool)
        for y, x in np.ndindex(*mask.shape):
            near = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
            inside = [place for place in near if 0 <= place[0] < 12 and 0 <= place[1] < 12]
            made[y, x] = mask[y, x] == kind and any(mask[place] != kind for place in inside)
        return made

    for kind in range(2):
        mine, true = edge(found[0], kind), edge(truth[0], kind)
        near = lambda one, other: sum(  # noqa: E731
            any(np.hypot(y - v, x - u) <= 1 for v, u in np.argwhere(other)) for y, x in np.argwhere(one)
        )
        assert counts[kind].tolist() == [near(mine, true), mine.sum(), near(true, mine), true.sum()]


def test_the_colour_table_is_the_most_frequent_class_of_a_colour():
    picture = np.zeros((1, 2, 4, 3), np.uint8)
    picture[0, 0], picture[0, 1, :2] = 200, 100
    mask = np.array([[[1, 1, 0, UNKNOWN], [2, 2, 0, 0]]], np.uint8)
    table = ColourTable(picture, mask, 3)
    asked = np.array(
        [[[[201, 202, 203], [100, 100, 100], [0, 7, 7], [110, 110, 110], [9, 250, 3]]]], np.uint8
    )
    assert table(asked)[0, 0].tolist() == [1, 2, 0, 2, 0]  # the last two: by 3 bits, and of all


def test_a_run_learns_and_is_evaluated_beside_its_baselines(run, rows):
    report = run.evaluate()
    assert set(map(str, report.baselines)) == {"class by colour", "most frequent class"}
    assert report.scores["miou"] > report.baselines["most frequent class"].scores["miou"]
    found = np.stack(
        [each.mask for each in run.segment([np.asarray(one, np.uint8) for one in rows["test"]["image"]])]
    )
    truth = masks_of(rows["test"])
    assert report.scores["accuracy"] == pytest.approx((found == truth)[truth != UNKNOWN].mean())
    recall = f1_score(truth[truth != UNKNOWN], found[truth != UNKNOWN], average=None)
    assert report.scores["iou house"] == pytest.approx(recall[1] / (2 - recall[1]))
    history = run.history[run.history.split == "validation"]
    assert {"loss", "accuracy", "miou"} <= set(history.columns)
    assert {"iou/0", "iou/1", "iou/2"} <= {
        each.name for each in run.store.records(run.id, split="validation")
    }
    name, metric, value, _share = run.info.summary["constant"]
    assert (str(name), metric) == ("the most frequent class", "miou") and 0 < value < 0.4
    assert run.info.summary["classes"] == ["ground", "house", "water"]


def test_an_exported_model_segments_files_and_images_alike(run, rows, folder, tmp_path):
    exported = run.export(tmp_path / "model", run.card())
    pipeline, path = lk.SegmentationPipeline(exported), folder / "images" / "03.png"
    one = pipeline.segment(path)
    for same in (Image.fromarray(pixels_of(path)), pixels_of(path)):
        assert np.array_equal(pipeline(same).mask, one.mask)
    assert one.mask.shape == (20, 24) and sum(one.shares.values()) == pytest.approx(1)
    assert np.array_equal(run.segment([str(path)])[0].probability, one.probability)
    readme = (exported / "README.md").read_text()
    assert "image-segmentation" in readme and "lk.SegmentationPipeline" in readme and "miou" in readme
    assert (exported / "model.safetensors").exists()
    with pytest.raises(lk.LabkitError, match=r"run\.segment\(pictures\)"):
        lk.Predictor(exported)
    with pytest.raises(DataError, match="not found"):
        pipeline.segment("nowhere.png")
    with pytest.raises(DataError, match=r"the model reads \(20, 24, 3\)"):
        pipeline.segment(np.zeros((2, 8, 8, 3), np.uint8))


def test_training_resumes_bit_for_bit(run, rows, tmp_path):
    with pytest.raises(lk.LabkitError, match="the power was cut"):
        lk.fit(rows, TINY, folder=tmp_path, background=False, callbacks=[Cut()], **SETTINGS)
    (cut,) = lk.runs(tmp_path)
    assert cut.status == "failed" and 0 < cut.info.step < run.info.steps
    cut.resume().wait(600)
    assert cut.status == "finished"
    for name in ("loss", "miou", "accuracy"):
        assert cut.info.summary[f"validation_{name}"] == run.info.summary[f"validation_{name}"]


class Cut(lk.Callback):
    """Fails once, in the second epoch."""

    failed = False

    def on_step(self, progress, *more):
        if progress.step >= 3 and not Cut.failed:
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


def test_the_command_writes_masks(run, folder, tmp_path):
    cli, exported = CliRunner(), run.export(tmp_path / "model")
    done = cli.invoke(app, ["segment", str(exported), str(folder / "images"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[0].split() == ["file", "ground", "house", "water"]
    written = pixels_of(tmp_path / "out" / "03.png")
    assert np.array_equal(written, run.segment(folder / "images" / "03.png").mask)
    with Image.open(tmp_path / "out" / "03-overlay.png") as drawn:
        assert drawn.size == (24, 20) and drawn.mode == "RGB"
    refused = cli.invoke(app, ["segment", str(exported), str(folder), "--out", str(tmp_path / "out")])
    assert refused.exit_code == 2 and "same name" in refused.output


def test_what_cannot_be_segmented_is_refused(rows, tmp_path):
    with pytest.raises(DataError, match=r"the pictures have no masks: the task 'segment'"):
        lk.fit("digits", TINY, task="segment", folder=tmp_path)
    with pytest.raises(ConfigError, match=r"cnn does not support 'segment'.*: unet"):
        lk.fit(rows, "cnn", folder=tmp_path)
    with pytest.raises(DataError, match="the rows have no labels"):
        lk.fit(rows, "cnn", task="classify", folder=tmp_path)
    with pytest.raises(DataError, match="at least two classes"):
        Segment().build(("only",), np.zeros(0))
