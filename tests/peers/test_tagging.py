"""Token classification: folders of labkit in transformers, and those of transformers here, to 1e-4."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import labkit as lk
from tests.tasks.test_tag import corpus

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def theirs() -> Any:
    return pytest.importorskip("transformers")


def tagged_there(
    torch: Any, tokenizer: Any, model: Any, words: list[list[str]]
) -> list[tuple[list[str], list[float]]]:
    """The tag and its probability at the first token of every word: by ``word_ids``, as the course of Hugging Face
    aligns them; of byte-level tokenizers, which take words only with a space before the first, by the characters."""
    found = []
    for sentence in words:
        if tokenizer.backend_tokenizer.pre_tokenizer.__class__.__name__ == "ByteLevel":
            text = " ".join(sentence)
            given = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
            begins = given.pop("offset_mapping")[0, 1:-1, 0].tolist()  # without <s> and </s>
            owners = [None, *(text[: at + (text[at] == " ")].count(" ") for at in begins), None]
        else:
            given = tokenizer(sentence, is_split_into_words=True, return_tensors="pt")
            owners = given.word_ids()
        with torch.no_grad():
            chances = model(**given).logits[0].softmax(-1).numpy()
        places = [owners.index(number) for number in range(len(sentence))]
        best = chances[places].argmax(-1)
        names = [model.config.id2label[int(number)] for number in best]
        found.append((names, chances[places].max(-1).tolist()))
    return found


@pytest.mark.parametrize("layout", ["bert", "roberta", "distilbert"])
def test_a_tagger_there_and_back(layout: str, torch: Any, theirs: Any, tmp_path: Path) -> None:
    words, tags = corpus(60)
    rows = lk.load({"tokens": words, "tags": tags}).split(validation=0.2, test=0.2, accept_leakage=True)
    kind = "bpe" if layout == "roberta" else "wordpiece"
    model = lk.models["bert"](layout=layout, width=32, depth=1, heads=2, mlp_width=32, max_length=64)
    run = lk.fit(rows, model, task="tag", tokenizer=kind, epochs=3, batch_size=16, learning_rate=1e-2,
                 background=False, accept_leakage=True, folder=tmp_path / "lab")  # fmt: skip
    run.export(tmp_path / "model")
    peer = theirs.AutoModelForTokenClassification.from_pretrained(tmp_path / "model").eval()
    tokenizer = theirs.AutoTokenizer.from_pretrained(tmp_path / "model")
    ours = run.tag(words)
    for mine, (names, chances) in zip(ours, tagged_there(torch, tokenizer, peer, words), strict=True):
        assert list(mine.tags) == names
        np.testing.assert_allclose(mine.probabilities, chances, atol=1e-4)
    peer.save_pretrained(tmp_path / "back")
    tokenizer.save_pretrained(tmp_path / "back")
    again = lk.TokenClassificationPipeline(tmp_path / "back").tag(words)
    assert [each.tags for each in again] == [each.tags for each in ours]
