"""Transfer to few pictures: a linear layer on the vectors of pretrained networks, which are computed once, beside a CNN
that starts from random weights.

``python -m pytest -m soak tests/evidence/test_transfer.py -s`` prints the table.
"""

from __future__ import annotations

import time

import pytest

import labkit as lk

#: Of each split so many pictures of clothes; of those for training so many for validation.
PICTURES, VALIDATION = 600, 300
MODELS = {
    "efficientnet-lite0": (
        "efficientnet",
        {"preset": "efficientnet-lite0", "resize": 96},
        {"trainable": "head"},
    ),
    "vgg16-trunk": ("vgg", {"preset": "vgg16-trunk", "stages": (2, 2, 3)}, {"trainable": "head"}),
    "cnn": ("cnn", {"preset": "small"}, {}),
}


@pytest.mark.soak
def test_pretrained_vectors_are_computed_once_and_worth_it(tmp_path):
    rows = lk.load("fashion-mnist").sample(PICTURES, seed=0).split(validation=VALIDATION)
    lines = []
    for name, (architecture, sizes, settings) in MODELS.items():
        model, seconds = lk.models[architecture](**sizes), []
        for turn in range(2 if settings else 1):
            begin = time.monotonic()
            run = lk.fit(
                rows, model, folder=tmp_path / f"{name}-{turn}", background=False, epochs=20, **settings
            )
            seconds.append(time.monotonic() - begin)
        report = run.evaluate(baselines=False)
        low, high = report.intervals["f1"]
        lines.append(
            f"transfer fashion-mnist, {len(rows['train'])} pictures | {name}, "
            f"{run.info.summary['trainable']:,} of {run.info.summary['parameters']:,} parameters trained | "
            f"F1 {report.scores['f1']:.3f} ({low:.3f} – {high:.3f}) | seconds {', '.join(f'{s:.0f}' for s in seconds)}"
        )
        if settings:
            assert run.info.summary["shapes"][0][1] == model.output_width, "the head reads vectors"
            assert seconds[1] < seconds[0], "the second run takes the vectors from the cache"
    print("\n" + "\n".join(lines))
