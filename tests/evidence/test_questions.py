"""Questions on paragraphs of the Brown corpus, built by templates and not checked by people, answered by a BERT."""

from __future__ import annotations

import numpy as np

import labkit as lk
from labkit.tasks.qa import exact, overlap


def test_a_bert_learns_to_answer_built_questions(lab, full, tell):
    """Two layers; MiniLM at full scale."""
    rows = lk.load("brown", questions=True).split(group="document", stratify=False, test=0.2, seed=0)
    model, rate, epochs = ("minilm-l6", 2e-4, 3) if full else ("bert-tiny", 1e-3, 8)
    run = lk.fit(
        rows, lk.models["bert"](preset=model), task="qa", folder=lab, background=False, epochs=epochs, batch_size=16,
        max_length=224, stride=32, buckets=1, learning_rate=rate, accept_leakage=True,
    )  # fmt: skip
    scores, test = run.evaluate("test"), rows["test"]
    tell(
        f"{len(rows['train'])} training, {len(test)} test questions: EM {scores['exact']:.3f}, F1 {scores['f1']:.3f}"
    )
    found = run.answer(test["text"], test["text_pair"])
    for kind in sorted(set(test["asks"])):
        these = [
            (exact(one.text, [truth]), overlap(one.text, [truth]))
            for one, truth, asks in zip(found, test["answer"], test["asks"], strict=True)
            if asks == kind
        ]
        tell(f"{kind}: {len(these)} questions, EM {np.mean(these, 0)[0]:.3f}, F1 {np.mean(these, 0)[1]:.3f}")
    assert scores["f1"] >= 0.5 and scores["exact"] >= 0.45
