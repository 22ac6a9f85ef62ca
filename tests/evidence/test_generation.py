"""Image generation on Fashion-MNIST by flow matching: a small DiT against a Gaussian of each class.

``python -m pytest -m soak tests/evidence/test_generation.py -s`` prints the table.
"""

from __future__ import annotations

import time

import pytest

import labkit as lk

TRAIN, EPOCHS, COUNT, STEPS = 20_000, 4, 1000, 15


@pytest.mark.soak
def test_a_dit_makes_pictures_that_are_nearer_to_real_ones_than_those_of_gaussians(tmp_path):
    rows = lk.load("fashion-mnist")
    rows = rows.with_splits({**rows.splits, "train": rows["train"].shuffle(seed=0).select(range(TRAIN))})
    rows = rows.split(validation=0.05, seed=0)
    classifier = lk.fit(
        rows, lk.models["cnn"](preset="small"), epochs=2, folder=tmp_path, background=False, name="classifier"
    )
    begin = time.monotonic()
    run = lk.fit(
        rows, lk.models["dit"](preset="small"), task="generate-images", epochs=EPOCHS, batch_size=64,
        ema=0.998, folder=tmp_path, background=False, name="dit",
    )  # fmt: skip
    minutes = (time.monotonic() - begin) / 60
    found = run.generation_report(classifier, count=COUNT, steps=STEPS)
    lines = []
    for name, each in {"model": found, **found.baselines}.items():
        lines.append(f"{name}: " + ", ".join(
            f"{score} {value:.3f} ({each.intervals[score][0]:.3f} – {each.intervals[score][1]:.3f})"
            for score, value in each.scores.items()
        ))  # fmt: skip
    gain = found.compare(found.baselines).loc["Gaussian of each class"]
    print(
        f"\ngenerate-images fashion-mnist | dit small, {run.info.summary['parameters']:,} parameters | "
        f"{len(rows['train']):,} pictures | {minutes:.1f} min | {' | '.join(lines)} | smaller Fréchet distance than "
        f"the Gaussian by {gain['gain']:.3f} ({gain['gain_low']:.3f} – {gain['gain_high']:.3f})"
    )
    (tmp_path / "pictures.png").write_bytes(run.generate_images(40, steps=STEPS)._repr_png_())
    assert gain["gain_low"] > 0
    assert found.scores["nearest_ratio"] > 0.5, "copies of training pictures"
