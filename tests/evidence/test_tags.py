"""Parts of speech of the Brown corpus against the most frequent tag of each word.

``pytest -m soak tests/evidence/test_tags.py -s``
"""

from __future__ import annotations

import time

import labkit as lk

SENTENCES = 16_000


def test_a_small_encoder_beats_the_most_frequent_tag_of_each_word(lab, tell):
    rows = lk.load("brown-tags").dedupe().sample(SENTENCES)
    rows = rows.split(validation=0.05, test=0.2, group="document")
    began = time.monotonic()
    run = lk.fit(
        rows, lk.models["bert"](weights="bert-tiny"), task="tag", epochs=2, folder=lab, background=False
    )
    minutes, found = (time.monotonic() - began) / 60, run.evaluate()
    low, high = found.intervals["accuracy"]
    worst, best = found.intervals["baseline_accuracy"]
    gain = found.intervals["accuracy_gain"]
    tell(
        f"BERT-tiny, {run.info.summary['parameters']:,} parameters, {len(rows['train']):,} → {len(rows['test']):,} "
        f"sentences of other documents, {minutes:.1f} min | accuracy {found['accuracy']:.3f} ({low:.3f} – {high:.3f}) "
        f"| most frequent tag {found['baseline_accuracy']:.3f} ({worst:.3f} – {best:.3f}) | gain "
        f"{found['accuracy_gain']:+.3f} ({gain[0]:+.3f} – {gain[1]:+.3f})"
    )
    assert low > best
