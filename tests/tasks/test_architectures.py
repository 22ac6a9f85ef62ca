"""Every architecture of the registry: training steps move all of it, its layers are scanned where they are alike,
and it packs texts or says that it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import labkit as lk
from labkit.core.errors import ConfigError
from labkit.models import models
from labkit.planning import experiment_of
from labkit.train.context import prepare, shapes_of
from tests.spoken import RATE, folder_of_tones

TEXT = {"width": 16, "heads": 2, "mlp_width": 24, "max_length": 24}
SMALL = {
    "bert": {**TEXT, "depth": 2},
    "modernbert": {**TEXT, "depth": 3},
    "gpt": {**TEXT, "depth": 2},
    "transformer": {**TEXT, "encoder_depth": 2, "decoder_depth": 2},
    "textcnn": {"embedding": 8, "filters": 8, "max_length": 24},
    "mlp": {"widths": (8, 8)},
    "ft-transformer": {"width": 16, "heads": 2, "depth": 2},
    "cnn": {"widths": (4, 8), "blocks": (1, 1), "input_shape": (8, 8, 1)},
    "vgg": {"stages": (1, 1), "base_width": 4, "head_width": 8, "input_shape": (8, 8, 1)},
    "efficientnet": {"resize": 0},
    "unet": {"widths": (4, 8)},
    "dit": {"width": 16, "heads": 2, "mlp_width": 24, "depth": 2, "patch": 4},
    "conformer": {"width": 16, "heads": 2, "mlp_width": 24, "depth": 2, "kernel": 3},
    "sasrec": {"width": 16, "heads": 2, "mlp_width": 24, "depth": 2, "max_length": 7},
    "dlinear": {"kernel": 3},
    "patchtst": {"width": 16, "heads": 2, "mlp_width": 24, "depth": 2, "patch": 4, "stride": 2},
}
#: Those whose layers are alike: a scan runs them. The others' layers differ in width or in the size of the picture.
DEEP = {
    "bert": ({"depth": 4}, {"depth": 8}),
    "gpt": ({"depth": 4}, {"depth": 8}),
    "sasrec": ({"depth": 5}, {"depth": 9}),
    "conformer": ({"depth": 5}, {"depth": 9}),
    "dit": ({"depth": 5}, {"depth": 9}),
    "patchtst": ({"depth": 5}, {"depth": 9}),  # no other size of it is 5 or 9
    "transformer": ({"encoder_depth": 4, "decoder_depth": 4}, {"encoder_depth": 8, "decoder_depth": 8}),
}
OPTIONS = {"batch_size": 8, "learning_rate": 1e-2, "warmup": 0.0, "epochs": 1}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    speech = folder_of_tones(tmp_path_factory.mktemp("speech") / "tones", 20)
    random, words = np.random.default_rng(0), ["one", "two", "three", "four", "five", "six"]
    texts = [{"text": " ".join(random.choice(words, 4)), "other": " ".join(random.choice(words, 3)), "label": n % 2}
             for n in range(60)]  # fmt: skip
    return {
        "text": lk.load(texts, text="text", label="label"),
        "pair": lk.load(texts, text=("text", "other"), label=False),
        "image": lk.load("digits").sample(100),
        "unet": lk.load(str(scenes(tmp_path_factory.mktemp("scenes")))),
        "audio": lk.load(str(speech), transcript="said", rate=RATE),
        "features": lk.load(
            [
                {"a": n % 7, "b": float(n % 5), "c": "xyz"[n % 3], "label": "no" if n % 2 else "yes"}
                for n in range(100)
            ],
            features=True,
        ),
        "interactions": lk.load(
            {
                "who": [n % 9 for n in range(180)],
                "what": random.integers(12, size=180).tolist(),
                "when": range(180),
            },
            user="who",
            item="what",
            time="when",
        ),
        "series": lk.load(
            {"hour": list(range(90)), "value": random.normal(size=90).tolist()}, time="hour", number="value"
        ),
    }


def scenes(folder):
    """Pictures with masks."""
    for number in range(12):
        mask = (np.arange(64).reshape(8, 8) > 5 * number).astype(np.uint8)
        for kind, pixels in (("images", 200 * mask), ("masks", mask)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")
    return folder


def planned(name, rows, folder, sizes=None, **more):
    """A run made ready, not begun."""
    config = models[name](**{**SMALL[name], **(sizes or {})})
    tasks = {
        "transformer": "seq2seq",
        "dlinear": "forecast",
        "patchtst": "forecast",
        "sasrec": "recommend",
        "unet": "segment",
        "dit": "generate-images",
        "conformer": "asr",
    }
    options = {**OPTIONS, "task": tasks.get(name, "classify"), **more}
    if config.modality == "series":
        options |= {"context": 8, "horizon": 2}
    if config.modality == "audio":
        options |= {"bands": 16, "buckets": 1}
    if config.modality in ("text", "pair"):
        options |= {"max_length": 24, "vocabulary": 300, "buckets": 1}
    data, experiment = experiment_of(rows[name if name in rows else config.modality], config, True, options)
    data.save(folder / "data")
    return prepare(experiment, folder, lambda message: None)


def test_the_table_above_is_whole():
    assert set(SMALL) == set(models)


#: Gates and the last layer are 0 at first: what is below them moves once they have.
STEPS = {"dit": 3}
LARGE = {"efficientnet": pytest.mark.soak}  # its sizes are fixed, and its program is long


@pytest.mark.parametrize("name", [pytest.param(name, marks=LARGE.get(name, ())) for name in SMALL])
def test_steps_move_every_parameter(name, rows, tmp_path):
    plan = planned(name, rows, tmp_path)
    state = plan.steps.state(plan.weights(), 0)
    before = {path: np.array(value) for path, value in state.trainable.items()}
    for step in range(STEPS.get(name, 1)):
        state, told = plan.steps.train(state, plan.steps.place(plan.batches.at(step)))
    assert np.isfinite(told["loss"]) and told["loss"] > 0 and not int(told["skipped"])
    assert set(before) == set(plan.steps.shapes), "nothing is frozen"
    still = [path for path, value in before.items() if np.array_equal(value, state.trainable[path])]
    assert not still
    assert all(np.isfinite(value).all() for value in state.trainable.values())


@pytest.mark.parametrize("name", DEEP)
def test_the_program_of_a_step_does_not_grow_with_depth(name, rows, tmp_path):
    sizes = []
    for number, deeper in enumerate(DEEP[name]):
        plan = planned(name, rows, tmp_path / str(number), deeper)
        (batch,) = shapes_of(plan.batches, plan.steps)
        sizes.append(str(plan.steps.trace("train", plan.steps.abstract_state(), batch).jaxpr).count(" = "))
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("name", [name for name in SMALL if models[name].modality in ("text", "pair")])
def test_it_packs_or_says_that_it_cannot(name, rows, tmp_path):
    if name == "transformer":  # its rows are pairs, one by one
        assert (
            not models[name].packs
            and "a row holds one pair" in planned(name, rows, tmp_path).summary["layout"]
        )
    elif getattr(models[name], "packs", True):
        batch = planned(name, rows, tmp_path, packing="always").batches.at(0)
        assert batch["segment"].max() > 1, "several texts share a row"
    else:
        with pytest.raises(ConfigError, match="does not support packed rows"):
            planned(name, rows, tmp_path, packing="always")
