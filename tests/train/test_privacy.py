"""Differentially private training: clipping, noise, sampling, accounting, refusals and resuming."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from flax import nnx
from scipy import stats

import labkit as lk
from labkit.app.run_follower import Tail, charts
from labkit.core.errors import ConfigError
from labkit.data.batching.arrays import ArrayBatches, Arrays
from labkit.data.batching.poisson import PoissonBatches
from labkit.tasks.classify import Classify
from labkit.train import privacy
from labkit.train.clipping import NoisySum
from labkit.train.experiment import Experiment, Training, own_experiment
from labkit.train.optimizer import Optimizer
from labkit.train.privacy import Privacy, Sampling
from labkit.train.step import TrainStep, flatten

WORDS = (1, 2, 3, 4)


def steps_of(noise: float, clip: float, expected: float, accumulate: int = 1, trainable: str = "full"):
    """A perceptron's steps by SGD with rate 1, so that an update is the mean gradient, and their state."""
    config = lk.models["mlp"](preset="small", input_shape=(5,), widths=(8,), dropout=0.0)
    task = Classify(head_dropout=0.0).build(("a", "b", "c"), np.arange(3))
    module = task.init(config, nnx.Rngs(0))
    rule = Optimizer(
        algorithm="sgd", momentum=0.0, weight_decay=0.0, learning_rate=1.0, warmup=0.0, schedule="constant",
        trainable=trainable,
    )  # fmt: skip
    private = NoisySum(clip, noise, expected)
    top = config.layers + 1
    steps = TrainStep(task, module, rule, lambda name: top if name.startswith("head") else 1, top, 100, 10,
                      accumulate=accumulate, private=private)  # fmt: skip
    return steps, steps.state(flatten(nnx.to_pure_dict(nnx.split(module)[1])), seed=1), (task, module)


def batch_of(rows: int, real: int, scale: float = 3.0):
    random = np.random.default_rng(0)
    weight = (np.arange(rows) < real).astype(np.float32)
    return {
        "inputs": (random.normal(size=(rows, 5)) * scale * weight[:, None]).astype(np.float32),
        "label": (random.integers(0, 3, rows) * weight).astype(np.int32),
        "weight": weight,
        "index": np.where(weight > 0, np.arange(rows), -1).astype(np.int32),
    }


def gradients(task, module, batch) -> list[dict[str, np.ndarray]]:
    """The gradient of each row, one after the other, unclipped."""
    graph, state = nnx.split(module)

    def loss(state, row):
        return task.loss(nnx.merge(graph, state), row, jax.random.key(0))[0]

    rows = [
        {name: jnp.asarray(value[i : i + 1]) for name, value in batch.items()}
        for i in range(len(batch["weight"]))
    ]
    made = [flatten(nnx.to_pure_dict(jax.grad(loss)(state, row))) for row in rows]
    return [{name: np.asarray(leaf, np.float64) for name, leaf in each.items()} for each in made]


def clipped_sum(each: list[dict[str, np.ndarray]], clip: float, names) -> dict[str, np.ndarray]:
    total = {name: np.zeros_like(each[0][name]) for name in names}
    for gradient in each:
        norm = np.sqrt(sum((gradient[name] ** 2).sum() for name in names))
        for name in names:
            total[name] += gradient[name] * min(1.0, clip / max(norm, 1e-12))
    return total


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("trainable", ["full", "head"])
def test_gradients_are_clipped_row_by_row(accumulate, trainable):
    """Without noise an update is the sum of the clipped gradients ÷ the expected rows, filled places adding nothing."""
    steps, state, (task, module) = steps_of(0.0, 0.5, 6.0, accumulate, trainable)
    batch, before = batch_of(8, 5), jax.device_get(state.trainable)
    each = gradients(task, module, batch)
    norms = [np.sqrt(sum((leaf**2).sum() for leaf in gradient.values())) for gradient in each]
    assert max(norms) > 0.5, "some gradient is clipped"
    expected = clipped_sum(each, 0.5, before)
    after = jax.device_get(steps.train(state, steps.place(batch))[0].trainable)
    for name, value in before.items():
        np.testing.assert_allclose((value - after[name]) * 6.0, expected[name], atol=2e-6, err_msg=name)


def test_one_row_changes_the_sum_by_clip_at_most():
    clip, batch = 0.3, batch_of(8, 5, scale=30.0)
    steps, first, _made = steps_of(0.0, clip, 1.0)
    before = jax.device_get(first.trainable)

    def summed(weight) -> dict[str, np.ndarray]:
        state = jax.tree.map(jnp.copy, first)
        after = jax.device_get(steps.train(state, steps.place({**batch, "weight": weight}))[0].trainable)
        return {name: before[name].astype(np.float64) - after[name] for name in before}

    whole = summed(batch["weight"])
    for row in range(5):
        without = summed((batch["weight"] * (np.arange(8) != row)).astype(np.float32))
        change = np.sqrt(sum(((whole[name] - without[name]) ** 2).sum() for name in whole))
        assert 0 < change <= clip * 1.0001


def test_a_row_whose_gradient_is_not_finite_changes_nothing_and_stops_nothing():
    """Otherwise whether a step was skipped would tell that the row was there."""
    batch = batch_of(8, 5)
    broken = {**batch, "inputs": batch["inputs"].copy()}
    broken["inputs"][2] = np.inf
    without = {**batch, "weight": batch["weight"] * (np.arange(8) != 2)}
    results = []
    for each in (broken, without):
        steps, state, _made = steps_of(0.0, 0.3, 5.0)
        state, told = steps.train(state, steps.place(each))
        assert int(told["skipped"]) == 0
        results.append(jax.device_get(state.trainable))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), *results)


def test_the_noise_has_the_standard_deviation_that_is_accounted_for():
    """noise × clip ÷ expected rows, independent in every parameter and step; an empty batch has noise too."""
    found = []
    steps, state, _made = steps_of(1.5, 2.0, 6.0)
    for _step in range(30):
        before = jax.device_get(state.trainable)
        state, _told = steps.train(state, steps.place(batch_of(8, 0)))
        after = jax.device_get(state.trainable)
        found.append(np.concatenate([(before[name] - after[name]).ravel() for name in sorted(before)]))
    noise = np.stack(found)
    scale = 1.5 * 2.0 / 6.0
    assert stats.kstest(noise.ravel() / scale, "norm").pvalue > 0.001
    between = np.corrcoef(noise)[np.triu_indices(30, 1)]
    assert np.abs(between).max() < 6 / np.sqrt(noise.shape[1])


def poisson(rows: int, expected: int, largest: int, labels: np.ndarray | None = None) -> PoissonBatches:
    label = np.zeros(rows, np.int32) if labels is None else labels
    arrays = Arrays(np.arange(rows, dtype=np.float32)[:, None], label, np.arange(rows))
    return PoissonBatches(ArrayBatches(arrays, expected), WORDS, largest)


def test_batches_are_poisson_samples():
    batches = poisson(200, 20, 60)
    draws = [batches.at(step) for step in range(2000)]
    sizes = np.array([int((batch["index"] >= 0).sum()) for batch in draws])
    law = stats.binom(200, 0.1)
    assert abs(sizes.mean() - 20) < 5 * law.std() / np.sqrt(2000)
    assert abs(sizes.var() / law.var() - 1) < 0.2
    counts = np.bincount(
        np.concatenate([batch["index"][batch["index"] >= 0] for batch in draws]), minlength=200
    )
    assert np.abs(counts - 200).max() < 5 * np.sqrt(2000 * 0.1 * 0.9)
    assert all(batch["inputs"].shape == (60, 1) for batch in draws)
    for batch in draws[:50]:
        index = batch["index"]
        assert ((batch["weight"] > 0) == (index >= 0)).all() and len(set(index[index >= 0])) == (
            index >= 0
        ).sum()
        np.testing.assert_array_equal(batch["inputs"][index >= 0, 0], index[index >= 0])
    again = poisson(200, 20, 60).at(7)
    np.testing.assert_array_equal(again["index"], draws[7]["index"])


def test_a_draw_that_exceeds_the_places_is_cut_to_a_random_subset():
    batches = poisson(200, 100, 60)
    kept = np.stack([np.bincount(batches.drawn(step), minlength=200) for step in range(2000)])
    assert kept.max() == 1 and kept.sum(1).max() == 60
    assert np.abs(kept.sum(0) - 600).max() < 5 * np.sqrt(2000 * 0.3 * 0.7)


def test_rows_without_a_label_are_never_drawn():
    labels = np.where(np.arange(50) % 2, -1, 0).astype(np.int32)
    batches = poisson(50, 25, 50, labels)
    assert batches.rate == 1.0
    np.testing.assert_array_equal(batches.drawn(0), np.arange(0, 50, 2))


def test_epsilon_is_that_of_the_example_of_dp_accounting():
    """Test of its PLD accountant: rate 0.2, noise 0.5, three steps, delta 0.15594 at epsilon 1."""
    sampling = Sampling(rows=10, expected=2, largest=10, steps=3)
    assert privacy.spent(sampling, 0.5, 3, 0.15594) == pytest.approx(1.0, abs=1e-3)
    assert privacy.spent(sampling, 0.5, 0, 0.1) == 0.0


def test_epsilon_with_rare_overfull_draws_is_that_of_poisson_sampling():
    """The common setting of 60,000 rows, batches of 256: below the Rényi bound, equal to the PLD accountant's."""
    steps, delta, noise = 1000, 1e-5, 1.1
    most = privacy.places(60_000, 256, steps, delta, 8)
    assert most % 8 == 0 and stats.binom(60_000, 256 / 60_000).sf(most) * steps < delta / 10
    sampling = Sampling(60_000, 256, most, steps)
    event = dp_event.SelfComposedDpEvent(
        dp_event.PoissonSampledDpEvent(256 / 60_000, dp_event.GaussianDpEvent(noise)), steps
    )
    found, exact = (
        privacy.spent(sampling, noise, steps, delta),
        PLDAccountant().compose(event).get_epsilon(delta),
    )
    assert exact <= found == pytest.approx(exact, rel=5e-3), "rounded up on a coarser grid"
    assert found < RdpAccountant().compose(event).get_epsilon(delta)


def test_overfull_draws_cost_epsilon():
    """Places that are often too few leak: what is left out depends on the other rows."""
    few, many = (Sampling(1000, 100, most, 20) for most in (105, 1000))
    assert privacy.spent(few, 1.0, 20, 1e-4) > 1.5 * privacy.spent(many, 1.0, 20, 1e-4)


def test_the_noise_meets_the_target_and_no_less_would():
    sampling = Sampling(500, 50, 500, 50)
    noise = privacy.noise_for(sampling, 3.0, 1e-4)
    assert privacy.spent(sampling, noise, 50, 1e-4) <= 3.0 < privacy.spent(sampling, noise - 2e-3, 50, 1e-4)


@pytest.fixture(scope="module")
def cells():
    random = np.random.default_rng(0)
    rows = [
        {"a": float(x), "b": float(y), "label": "yes" if x + y > 0 else "no"}
        for x, y in random.normal(size=(400, 2))
    ]
    return lk.load(rows, label="label", features=True).split(validation=0.15, test=0.15, seed=0)


MLP = {"preset": "small", "widths": (8,)}
TARGET = {"epsilon": 5.0, "delta": 1e-3}
SETTINGS = {"epochs": 4, "batch_size": 32, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def private(cells, tmp_path_factory):
    folder = tmp_path_factory.mktemp("private")
    run = lk.fit(cells, lk.models["mlp"](**MLP), folder=folder, background=False,
                 privacy=lk.Privacy(**TARGET, noise_seed=3), **SETTINGS)  # fmt: skip
    assert run.status == "finished", run.info.error
    return run


def test_a_private_run_learns_within_its_target(private):
    told = private.info.summary["privacy"]
    assert 4.9 < told["spent"] <= 5.0 and told["unit"] == "row" and told["noise"] > 0.3
    assert private.evaluate("test", baselines=False).scores["accuracy"] > 0.8


def test_epsilon_grows_over_the_steps_in_the_log(private):
    curve = [
        (record.step, record.value)
        for record in private.store.records(private.id)
        if record.name == "epsilon"
    ]
    steps, values = zip(*curve, strict=True)
    told = private.info.summary["privacy"]
    assert steps[-1] == private.info.steps == told["steps"] and list(values) == sorted(values)
    sampling = Sampling(told["rows"], told["expected"], told["largest"], told["steps"])
    for step, value in (curve[0], curve[len(curve) // 2], curve[-1]):
        accountant = PLDAccountant(value_discretization_interval=1e-3).compose(
            sampling.event(told["noise"], step)
        )
        assert value == pytest.approx(accountant.get_epsilon(1e-3), abs=1e-6)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_panel_of_a_private_run_draws_epsilon(private, language):
    drawn = {line["key"]: chart for chart in charts(private.info, language, True) for line in chart["lines"]}
    assert "ε" in drawn["train/epsilon"]["title"] and not drawn["train/epsilon"]["small"]
    tail = Tail(private, full=True)
    steps, values = tail.series(tail.read(True)[0])["train/epsilon"]
    assert steps[-1] == private.info.steps and values[-1] == pytest.approx(
        private.info.summary["privacy"]["spent"]
    )


def test_what_epsilon_does_not_cover_is_said(private):
    told = " ".join(private.info.summary["warnings"])
    for part in ("validation rows", "last step", "Mean, scale and categories", "noise_seed"):
        assert part in told


def test_the_secret_stays_in_the_folder_of_the_run(private, tmp_path):
    file = private.info.folder / "privacy.json"
    assert file.stat().st_mode & 0o077 == 0
    words = json.loads(file.read_text())["words"]
    private.export(tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert path.name != "privacy.json" and not any(str(word).encode() in content for word in words)


def test_two_runs_of_one_seed_have_other_noise(cells, private, tmp_path):
    """The seed of a run is public: noise that followed from it could be removed."""
    run = lk.fit(cells, lk.models["mlp"](**MLP), folder=tmp_path, background=False, privacy=lk.Privacy(**TARGET),
                 **{**SETTINGS, "epochs": 4})  # fmt: skip
    assert weights_of(run) != weights_of(private)


class Broken(lk.Callback):
    """Fails in the third epoch."""

    def on_step(self, progress, step, metrics):
        if step > progress.steps // 2 + 2:
            raise ValueError("broken")


def weights_of(run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run.info.folder / "model").glob("*.safetensors")}


def test_a_resumed_private_run_is_bit_for_bit_the_uninterrupted_one(cells, private, tmp_path):
    """Batches, noise and the log of epsilon."""
    with pytest.raises(lk.LabkitError, match="broken"):
        lk.fit(cells, lk.models["mlp"](**MLP), folder=tmp_path, background=False, callbacks=[Broken()],
               privacy=lk.Privacy(**TARGET, noise_seed=3), **SETTINGS)  # fmt: skip
    run = lk.runs(tmp_path)[0].resume(callbacks=[]).wait()
    assert run.status == "finished" and weights_of(run) == weights_of(private) != {}
    logs = [
        [(r.step, r.value) for r in each.store.records(each.id) if r.name == "epsilon"]
        for each in (run, private)
    ]
    assert logs[0] == logs[1]


def test_low_rank_adapters_on_texts_are_trained_privately_without_packing(
    reviews, tiny, settings, tmp_path, monkeypatch
):
    monkeypatch.setattr("labkit.train.private_plan.noise_for", lambda *args: 1.0)
    run = lk.fit(reviews, tiny.replace(depth=1), folder=tmp_path, background=False, trainable="lora",
                 **{**settings, "epochs": 1, "privacy": {"epsilon": 8.0, "delta": 1e-4}})  # fmt: skip
    summary = run.info.summary
    assert run.status == "finished" and len(summary["shapes"]) == 1 and summary["shapes"][0][1] <= 32
    assert summary["shapes"][0][0] == summary["privacy"]["largest"] > 16
    assert "vocabulary is learned" in " ".join(summary["warnings"])
    assert len(run.predict(["a fine film"])) == 1


def test_the_best_evaluation_is_not_chosen(private):
    assert private.info.summary["model_step"] == private.info.steps


def test_code_reproduces_the_settings(private):
    assert "privacy={'epsilon': 5.0" in private.code().replace('"', "'")


def test_settings_go_to_toml_and_back(cells, private):
    text = private.toml()
    assert "[train.privacy]" in text and "epsilon = 5.0" in text
    assert own_experiment(text).train.privacy == Privacy(**TARGET, noise_seed=3)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"patience": 2}, "early stopping"),
        ({"packing": "always"}, "several rows share one example"),
        ({"mixup": 0.2}, "mixes the rows of a batch"),
        ({"class_weights": "balanced"}, "counts of the private rows"),
        ({"sharded": True}, "devices = 1"),
        ({"privacy": {"epsilon": 1.0, "delta": 0.01}}, "delta = 0.01 is not below 1 / "),
        ({"privacy": {"epsilon": 1.0}}, "delta"),
        ({"privacy": {"epsilon": -1.0, "delta": 1e-5}}, "below the minimum"),
    ],
)
def test_what_cannot_be_accounted_for_is_refused_by_name(cells, tmp_path, settings, told):
    with pytest.raises(ConfigError, match=told):
        lk.fit(cells, lk.models["mlp"](**MLP), folder=tmp_path, **{"privacy": TARGET, **SETTINGS, **settings})
    assert not list(tmp_path.glob("*/data")), "no run was made"


@pytest.mark.parametrize("task", ["lm", "embed", "pretrain", "qa", "seq2seq"])
def test_tasks_whose_examples_are_not_rows_are_refused(task):
    model = {"lm": "gpt", "seq2seq": "transformer"}.get(task, "bert")
    training = Training(privacy=Privacy(**TARGET))
    with pytest.raises(ConfigError, match="an example depends on other rows"):
        Experiment(
            lk.models[model](preset=lk.models[model].first_preset), task=lk.tasks[task](), train=training
        )


def test_batch_normalisation_is_refused_by_name():
    config = lk.models["cnn"](preset="small", input_shape=(8, 8, 1), norm="batch")
    task = Classify().build(("a", "b"), np.arange(2))
    module = nnx.eval_shape(lambda: task.init(config, nnx.Rngs(0)))
    with pytest.raises(ConfigError, match="batch normalisation"):
        TrainStep(task, module, Optimizer(learning_rate=1e-3), lambda name: 1, 2, 10, 1,
                  private=NoisySum(1.0, 1.0, 8.0))  # fmt: skip
