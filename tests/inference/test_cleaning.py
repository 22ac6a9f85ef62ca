"""New texts are cleaned as the training texts were, whatever a model does with them."""

from __future__ import annotations

import numpy as np
import pytest

import labkit as lk

ROWS = [{"text": f"<p>The CAT saw dog {i % 7}</p>", "target": f"le chat {i % 7}"} for i in range(60)]
HOW = {"background": False, "epochs": 1, "max_length": 16, "vocabulary": 290, "accept_leakage": True}


def test_vectors_are_those_of_cleaned_texts(tmp_path):
    rows = lk.load(ROWS, text="text", label=False).clean(("html", "lowercase"))
    model = lk.models["bert"](preset="tiny", width=16, depth=1, heads=2, mlp_width=16, max_length=16)
    run = lk.fit(rows, model, task="embed", folder=tmp_path, **HOW)
    raw, clean = run.embed(["<b>The CAT</b> saw dog 3", "the cat saw dog 3"])
    np.testing.assert_array_equal(raw, clean)
    told = (run.export(tmp_path / "out") / "README.md").read_text()
    assert "cleaned (html, lowercase)" in told and "labkit.TextCleaner" in told


def test_prompts_are_cleaned(tmp_path):
    rows = lk.load(ROWS, text="text", label=False).clean(("html", "lowercase"))
    model = lk.models["gpt"](depth=1, width=16, heads=2, max_length=32)
    run = lk.fit(rows, model, task="lm", folder=tmp_path, **HOW)
    assert run.generate("<i>The CAT</i>", max_new_tokens=4) == run.generate("the cat", max_new_tokens=4)


@pytest.mark.soak
def test_a_pooler_that_the_weights_lack_is_named_before_training(tmp_path):
    rows = lk.load([{"text": f"the cat {i}", "label": "ab"[i % 2]} for i in range(60)])
    sizes = {"preset": "tiny", "width": 16, "depth": 1, "heads": 2, "mlp_width": 16, "max_length": 16}
    start = lk.fit(
        rows, lk.models["bert"](**sizes), task="pretrain", next_sentence=False, folder=tmp_path, **HOW
    )
    folder = str(start.export(tmp_path / "mlm"))
    run = lk.fit(
        rows, lk.models["bert"](weights=folder), folder=tmp_path, background=False, epochs=1, max_length=16
    )
    assert [one for one in run.info.summary["warnings"] if "have no pooler" in one]
    mean = lk.models["bert"](weights=folder, pooling="mean")
    run = lk.fit(rows, mean, folder=tmp_path, background=False, epochs=1, max_length=16)
    assert not [one for one in run.info.summary["warnings"] if "have no pooler" in one]


def test_hidden_words_stand_among_cleaned_ones(tmp_path):
    rows = lk.load([{"text": f"<p>The CAT saw dog {i % 7}</p>"} for i in range(60)], label=False)
    model = lk.models["bert"](preset="tiny", width=16, depth=1, heads=2, mlp_width=16, max_length=16)
    made = rows.clean(("html", "lowercase"))
    run = lk.fit(made, model, task="pretrain", next_sentence=False, folder=tmp_path, **HOW)
    assert run.fill("<b>The [MASK] saw</b> DOG [MASK]") == run.fill("the [MASK] saw dog [MASK]")
