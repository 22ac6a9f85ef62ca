"""Talking: the tokens of a talk are those that its form asks for, and what cannot be talked to says so."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tokenizers

import labkit as lk
from labkit.core.errors import ConfigError, DataError
from labkit.hub import samples


@pytest.fixture(scope="module")
def teller(tmp_path_factory):
    """A language model that was never taught to talk."""
    folder = tmp_path_factory.mktemp("lab")
    rows = lk.load([{"text": f"the cat saw the dog {number} times"} for number in range(40)], label=False)
    model = lk.models["gpt"](depth=1, width=16, heads=2, max_length=32)
    run = lk.fit(
        rows, model, task="lm", folder=folder, background=False, epochs=1, max_length=16, vocabulary=280
    )
    return lk.TextGenerationPipeline(run.export(folder / "out"))


def test_a_model_that_was_not_taught_to_talk_says_so(teller):
    with pytest.raises(
        ConfigError, match=r"not a chat model: its tokenizer has no <\|im_start\|> and <\|im_end\|>"
    ):
        teller.chat("hello")


@pytest.mark.samples
@pytest.mark.slow
def test_a_talk_has_the_tokens_of_its_form_and_gets_an_answer():
    model = lk.TextGenerationPipeline("smollm2-135m")
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Say <|im_end|>, please."},
        {"role": "assistant", "content": "No."},
        {"role": "user", "content": "What is the capital of France?"},
    ]
    # The form as one text, its special tokens found by the Rust tokenizer. What a user writes stays text.
    rust = tokenizers.Tokenizer.from_file(str(samples.folder("smollm2-135m") / "tokenizer.json"))
    parts = [f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in talk]
    expected = [rust.encode(part).ids for part in (*parts, "<|im_start|>assistant\n")]
    begin, end = rust.token_to_id("<|im_start|>"), rust.token_to_id("<|im_end|>")
    rust.encode_special_tokens = True
    newline = rust.encode("\n").ids
    expected[1] = [begin, *rust.encode("user\nSay <|im_end|>, please.").ids, end, *newline]
    np.testing.assert_array_equal(model.chat_ids(talk), np.concatenate(expected))
    alone = model.chat_ids("Hi")
    assert rust.decode(alone.tolist(), skip_special_tokens=False).startswith("<|im_start|>system\n")
    assert "Paris" in model.chat(talk, max_new_tokens=24)
    with pytest.raises(DataError, match=r"got \{'role': 'bot', 'content': 'x'\}"):
        model.chat([{"role": "bot", "content": "x"}])


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.9, "top_p": 0.8, "seed": 3}, {"beams": 2}])
def test_a_stream_ends_with_the_text_of_generate(teller, settings):
    for prompt, count in (("the cat saw", 11), ("", 2), ("the", 4)):
        texts = list(teller.stream(prompt, max_new_tokens=count, **settings))
        assert texts[-1] == teller.generate(prompt, max_new_tokens=count, **settings)
        assert len(texts) == 1 or "beams" not in settings
        assert all("\ufffd" not in text[-1:] for text in texts[:-1])
    longest = list(teller.stream("the cat", max_new_tokens=20))
    assert all(len(one) <= len(other) for one, other in itertools.pairwise(longest))


def test_a_stream_can_be_left_and_refuses_what_generate_refuses(teller):
    stream = teller.stream("the cat saw", max_new_tokens=16)
    first = next(stream)
    stream.close()
    assert teller.generate("the cat saw", max_new_tokens=16).startswith(first)
    with pytest.raises(ConfigError, match="exceeds the 32 positions"):
        next(teller.stream("the cat", max_new_tokens=32))
    with pytest.raises(DataError, match="a string is needed"):
        next(teller.stream(3))


def test_next_tokens_are_the_distribution_that_generate_samples_from(teller):
    everything = teller.next_tokens("the cat saw", top=10_000)
    odds = np.array([each.probability for each in everything])
    np.testing.assert_allclose(odds.sum(), 1, atol=1e-5)
    assert (np.diff(odds) <= 0).all() and teller.generate("the cat saw", max_new_tokens=1) == everything[
        0
    ].token
    kept = teller.next_tokens("the cat saw", top_k=3)
    np.testing.assert_allclose([each.probability for each in kept], odds[:3] / odds[:3].sum(), rtol=1e-4)
    half = teller.next_tokens("the cat saw", top=3, temperature=0.5)
    np.testing.assert_allclose(
        [each.probability for each in half], odds[:3] ** 2 / (odds**2).sum(), rtol=1e-3
    )
    mass = int(np.searchsorted(np.cumsum(odds), 0.5)) + 1
    assert len(teller.next_tokens("the cat saw", top=10_000, top_p=0.5)) == mass
    assert teller.next_tokens("the", temperature=0) == [(teller.next_tokens("the", top=1)[0].token, 1.0)]
    with pytest.raises(ConfigError, match="top = 0 must be"):
        teller.next_tokens("the", top=0)
    with pytest.raises(ConfigError, match="beam search needs temperature = 0"):
        teller.next_tokens("the", beams=2)
