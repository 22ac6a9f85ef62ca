"""Pictures: convolutions against a linear model on Fashion-MNIST, a perceptron on digits."""

from __future__ import annotations

import pytest

import labkit as lk

CONVOLUTIONAL = {
    "cnn": {"widths": (32, 64, 128), "norm": "batch"},
    "vgg": {"stages": (1, 1, 2), "base_width": 24, "head_width": 0, "batch_norm": True},
}


@pytest.fixture(scope="module")
def clothes(full):
    rows = lk.load("fashion-mnist")
    rows = rows if full else rows.sample(10_000, seed=0)
    return rows.split(validation=0.05, seed=0, accept_leakage=True)


@pytest.fixture(scope="module")
def linear(clothes, lab, tell):
    """Test error of the better of two linear models: trained as all models are, and by scikit-learn."""
    run = lk.fit(
        clothes, lk.models["mlp"](preset="linear"), folder=lab, background=False, epochs=10, batch_size=64,
        learning_rate=3e-3, schedule="cosine", accept_leakage=True,
    )  # fmt: skip
    report = run.evaluate("test")
    ours, peer = 1 - report.scores["accuracy"], 1 - report.baselines["logistic regression"].scores["accuracy"]
    tell(
        f"linear, {len(clothes['train']):,} training pictures: test error {ours:.4f}; by scikit-learn {peer:.4f}"
    )
    return min(ours, peer)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_convolutions_beat_a_linear_model(name, clothes, linear, lab, full, tell):
    model = lk.models[name](**CONVOLUTIONAL[name])
    usual = {"epochs": 12, "learning_rate": 4e-3, "weight_decay": 0.05, "warmup": 0.25} if full else {
        "epochs": 8, "learning_rate": 6e-3, "warmup": 0.3}  # fmt: skip
    run = lk.fit(
        clothes, model, folder=lab, background=False, batch_size=64, schedule="one-cycle", augment="flip",
        accept_leakage=True, **usual,
    )  # fmt: skip
    report = run.evaluate("test", baselines=False)
    error, (low, high) = 1 - report.scores["accuracy"], report.intervals["accuracy"]
    tell(
        f"{name}, {run.info.summary['parameters']:,} parameters: test error {error:.4f} "
        f"(95 % {1 - high:.4f} to {1 - low:.4f}), {error / linear:.3f} x the linear model's"
    )
    assert error <= (0.5 if full else 0.7) * linear


def test_a_perceptron_reads_digits(lab, tell):
    rows = lk.load("digits").split(validation=0.1, test=0.2, seed=0)
    run = lk.fit(
        rows, lk.models["mlp"](widths=(256,), dropout=0.2), folder=lab, background=False, epochs=100, batch_size=32,
        learning_rate=1e-2, schedule="cosine",
    )  # fmt: skip
    report = run.evaluate("test")
    (low, high), share = report.intervals["accuracy"], report.scores["accuracy"]
    tell(f"mlp on digits, {len(rows['test'])} test pictures: accuracy {share:.4f} ({low:.4f} to {high:.4f})")
    assert report.scores["accuracy"] >= 0.97
