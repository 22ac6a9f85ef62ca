"""SmolLM2 as a classifier by prompting, beside TF-IDF and a fine-tuned BERT-tiny; and tuned on instructions with LoRA.

``pytest -m soak tests/evidence/test_chat.py -s``
"""

from __future__ import annotations

import time

import labkit as lk

INSTRUCTION = "Is this sentence of a film review negative or positive?"


def test_prompting_beside_trained_models(lab, tell, full):
    """No bar between the models: each figure is told; calibrated prompting must have read the texts."""
    rows = lk.load("movie-reviews", min_score=1.0).dedupe().split(validation=300, test=1500, seed=0)
    run = lk.fit(
        rows, lk.models["bert"](weights="bert-tiny"), folder=lab, background=False, epochs=3, max_length=64,
        name="BERT-tiny",
    )  # fmt: skip
    table = lk.compare_prompting(run, shots=(0, 4), limit=None if full else 200)
    for name, line in table.iterrows():
        gain = ""
        if name != "BERT-tiny":
            gain = f" | gain of BERT-tiny {line.gain:+.3f} ({line.gain_low:+.3f} – {line.gain_high:+.3f})"
        tell(
            f"{name}: F1 {line.f1:.3f} ({line.f1_low:.3f} – {line.f1_high:.3f}), accuracy {line.accuracy:.3f}, "
            f"{line.labels:,.0f} labels, {line.ms:.0f} ms a text{gain}"
        )
    assert table.loc["0-shot, content-free", "f1_low"] > 0.5


def test_lora_lowers_the_loss_on_held_out_responses(lab, tell, full):
    rows = lk.load("small-talk")
    rows = (rows if full else rows.sample(128)).split(validation=0.15, test=0.25)
    began = time.monotonic()
    run = lk.fit(
        rows, lk.models["gpt"](preset="smollm2-135m"), task="instruct", trainable="lora", folder=lab, epochs=2,
        batch_size=8, background=False, name="small-talk",
    )  # fmt: skip
    minutes, found = (time.monotonic() - began) / 60, run.evaluate()
    losses = [each.value for each in run.store.records(run.id, split="validation") if each.name == "loss"]
    low, high = found.intervals["loss_gain"]
    tell(
        f"LoRA, {run.info.summary['trainable']:,} of {run.info.summary['parameters']:,} parameters, "
        f"{len(rows['train'])} → {len(rows['test'])} pairs, {minutes:.1f} min | loss of test responses "
        f"{found['untuned_loss']:.3f} → {found['loss']:.3f} nats a token, gain {found['loss_gain']:+.3f} "
        f"({low:+.3f} – {high:+.3f}) | validation {', '.join(f'{loss:.3f}' for loss in losses)}"
    )
    assert low > 0
