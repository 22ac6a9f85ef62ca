"""Smaller models of film reviews: a distilled text CNN, weights of 8 and 4 bits, pruned heads and units.

``python -m pytest -m soak tests/evidence/test_smaller.py -s`` prints the table.
"""

from __future__ import annotations

import numpy as np

import labkit as lk

SHORT = {"max_length": 32, "background": False, "accept_leakage": True}


def test_smaller_models_of_film_reviews(lab, tell):
    """2,000 labelled reviews for the teacher, the texts of 6,000 others for the student."""
    whole = lk.load("movie-reviews", min_score=1.0).sample(8500, seed=0)
    part = whole["train"]
    order = np.random.default_rng(0).permutation(len(part))
    rows = whole.with_splits({"train": part.select(np.sort(order[:2500]))}).split(
        validation=0.1, test=600, seed=0, accept_leakage=True
    )
    tests = set(rows["test"]["text"]) | set(rows["validation"]["text"])
    texts = [text for text in part.select(np.sort(order[2500:]))["text"] if text not in tests]
    small = lk.models["textcnn"](preset="keras")
    cnn = {**SHORT, "vocabulary": 4000, "epochs": 6}
    teacher = lk.fit(
        rows, lk.models["bert"](preset="minilm-l6"), folder=lab, name="MiniLM", epochs=2, **SHORT
    )
    alone = lk.fit(rows, small, folder=lab, name="text CNN", **cnn)
    student = lk.distill(teacher, texts, small, name="distilled text CNN", **cnn)
    models = {"MiniLM": teacher, "int8": lk.quantize(teacher), "int4": lk.quantize(teacher, 4)}
    models |= {f"pruned {share:.0%}": lk.prune(teacher, share, share) for share in (0.25, 0.5)}
    table = lk.judge({**models, "text CNN": alone, "distilled text CNN": student}, teacher.rows)
    tell("\n" + table.to_string(float_format="{:.3f}".format))
    assert abs(table.loc["int8", "gain"]) < 0.01
    assert table.loc["distilled text CNN", "f1"] > table.loc["text CNN", "f1"]
    assert table.loc["int8", "bytes"] < 0.3 * table.loc["MiniLM", "bytes"]
