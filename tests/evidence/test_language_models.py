"""Language models: a GPT learnt from novels against n-grams of the same tokens, and real weights that talk."""

from __future__ import annotations

import labkit as lk


def test_a_gpt_tells_the_next_token_better_than_five_grams(lab, full, tell):
    rows = lk.load("austen").split(in_order=True, accept_leakage=True)
    model = lk.models["gpt"](preset="modern-tiny", depth=3, max_length=128, dropout=0.0)
    run = lk.fit(
        rows, model, task="lm", folder=lab, background=False, epochs=10 if full else 3, batch_size=16, max_length=128,
        vocabulary=600, optimizer="muon", learning_rate=4e-3, schedule="cosine", warmup=0.05, accept_leakage=True,
    )  # fmt: skip
    for split in ("validation", "test"):
        scores = run.evaluate(split)
        tell(
            f"{split}: GPT {scores['loss']:.4f} nats a token (perplexity {scores['perplexity']:.2f}), 5-grams "
            f"{scores['ngram_loss']:.4f} ({scores['ngram_perplexity']:.2f})"
        )
        assert scores["loss"] < scores["ngram_loss"]
    text = run.generate("It was a", max_new_tokens=60, temperature=0.8, top_p=0.9)
    tell(f"It was a{text!r}")
    known = set(" ".join(rows["train"]["text"]).split())
    words = text.split()[1:-1]
    assert sum(word in known for word in words) > 0.8 * len(words)  # it spells


def test_real_weights_talk(tell):
    model = lk.TextGenerationPipeline("smollm2-135m")
    asked = {
        "What is the capital of France?": "Paris",
        "What colour is the sky on a clear day?": "blue",
        "Which planet do we live on?": "Earth",
    }
    for question, word in asked.items():
        answer = model.chat(question, max_new_tokens=60)
        tell(f"{question} {answer!r}")
        assert word in answer
    story = model.chat("Tell me a short story about a cat.", max_new_tokens=120)
    tell(repr(story))
    words = story.lower().split()
    assert len(words) > 50 and "cat" in story.lower()
    assert len(set(words)) > 0.4 * len(words), "it does not go round in circles"
