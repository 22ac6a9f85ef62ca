"""Questions on paragraphs of the Brown corpus, built by templates and not checked by people, answered by MiniLM."""

from __future__ import annotations

import numpy as np

import labkit as lk
from labkit.tasks.qa import exact, overlap


def test_minilm_learns_to_answer_built_questions(lab, full, tell):
    rows = lk.load("brown", questions=True).split(group="document", stratify=False, test=0.2, seed=0)
    rows = rows if full else rows.sample(1200, seed=0)
    run = lk.fit(
        rows, lk.models["bert"](preset="minilm-l6"), task="qa", folder=lab, background=False, epochs=2, batch_size=16,
        max_length=224, stride=32, buckets=1, learning_rate=2e-4, accept_leakage=True,
    )  # fmt: skip
    scores, test = run.evaluate("test"), rows["test"]
    tell(f"{len(rows['train'])} training, {len(test)} test questions: EM {scores['exact']:.3f}, F1 {scores['f1']:.3f}")
    found = run.answer(test["text"], test["text_pair"])
    for kind in sorted(set(test["asks"])):
        these = [
            (exact(one.text, [truth]), overlap(one.text, [truth]))
            for one, truth, asks in zip(found, test["answer"], test["asks"], strict=True)
            if asks == kind
        ]
        tell(f"{kind}: {len(these)} questions, EM {np.mean(these, 0)[0]:.3f}, F1 {np.mean(these, 0)[1]:.3f}")
    assert scores["f1"] >= 0.6 and scores["exact"] >= 0.5
