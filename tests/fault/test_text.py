"""Any text goes in: nothing crashes, nothing is lost unless it is counted, and what is not a text is refused by row."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import labkit as lk
from labkit.core.errors import DataError
from labkit.data.text.tokenizer import Tokenizer

LONE = re.compile("[\ud800-\udfff]")
ANY = st.text(st.characters(codec=None, categories=None), max_size=60)  # lone surrogates too
AT_ONCE = 50

CRAFTED = [
    "", " ", "\n", "\t\r\n", "\x00", "a\x00b", "\x07bell", "\x1b[31mred\x1b[0m", "\x7f", "\x85", "\xa0", "\xad",
    "\ufeff", "\ufffd", "\ufffe", "\uffff", "\u2028", "\u2029", "\u200b", "\u200d", "\u202eevil",
    "\u2066x\u2069", "\ud800", "\udfff", "\ud83d\ude00", "\ude00\ud83d", "x\ud800y\udc00z", "😀",
    "👩\u200d👩\u200d👧", "🏳\ufe0f\u200d🌈", "e\u0301", "é", "Z̸̡̛͉͔̞̈́", "\u0600\u0601", "שלום", "مرحبا", "नमस्ते",
    "ไทย", "中文字", "𠜎𠜱", "한국어", "Ꮳ", "𝕳𝖊𝖑𝖑𝖔", "\ufdfd", "\U000e0041", "\U0010ffff",
    "[CLS] [SEP] [MASK] [PAD] [UNK]", "<|endoftext|>", "<s></s><pad><mask>", "<script>x</script>", "=1+1",
    "'; DROP TABLE x;--", "../../etc/passwd", "%s %n {0} {x}", "a" * 100_000, "a " * 50_000, "中" * 50_000,
    "\u0301" * 5_000, "🎉" * 20_000, "\n" * 10_000 + "x",
]  # fmt: skip
assert len(CRAFTED) == 60


@pytest.fixture(scope="module")
def made():
    corpus = ["a good film, and a bad one", "这部电影很好 ok", "números y más ñ", "1 2 3 !?"] * 5
    return {
        "bpe": Tokenizer.train(corpus, kind="bpe", vocab_size=320, lowercase=False),
        "wordpiece": Tokenizer.train(corpus, kind="wordpiece", vocab_size=320),
    }


def go_through(texts: list[str], made) -> None:
    """Load texts and tokenise them; every one comes back as it was, or is reported by its row."""
    table = [{"text": text, "label": "ab"[place % 2]} for place, text in enumerate(texts)]
    try:
        rows = lk.load(table, text="text", label="label", on_bad="skip")
    except DataError as error:
        assert "0 rows remain" in str(error) and not any(text.strip() for text in texts)
        return
    train = rows["train"]
    kept = dict(zip(train["row"][:], train["text"][:], strict=True))
    noted = {note.row for note in rows.report.notes if note.action != "counted"}
    for place, text in enumerate(texts):
        assert kept.get(place) == text or place in noted, (place, text[:80])
    for kind, tokenizer in made.items():
        tokens = tokenizer.encode(list(kept.values()), max_length=512)
        assert len(tokens) == len(kept) and ((tokens.ids >= 0) & (tokens.ids < tokenizer.vocab_size)).all()
        if kind == "bpe":  # bytes: nothing is unknown, so that what is not cut comes back
            for number, text in enumerate(kept.values()):
                ids = tokens.ids[tokens.offsets[number] : tokens.offsets[number + 1]]
                assert len(ids) == 512 or tokenizer.decode(ids) == LONE.sub("\ufffd", text)
        long = sum(np.diff(tokens.offsets) == 512)
        assert tokens.truncated <= long  # each text that was cut is counted


@settings(max_examples=10_000 // AT_ONCE, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts=st.lists(ANY, min_size=AT_ONCE, max_size=AT_ONCE))
def test_text_fuzz_of_ten_thousand_strings(made, texts):
    go_through(texts, made)


def test_text_fuzz_of_sixty_crafted_strings(made):
    go_through(CRAFTED, made)


def test_text_of_special_tokens_stays_text(made):
    for tokenizer in made.values():
        tokens = tokenizer.encode(["x [CLS] [SEP] <|endoftext|> [MASK]"], max_length=64)
        special = {tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id, tokenizer.pad_id}
        assert sum(int(number) in special for number in tokens.ids) == 2


def _wordpiece(file: dict) -> None:
    file["model"]["unk_token"] = "gone"


def _wordlevel(file: dict) -> None:
    file["model"] = {"type": "WordLevel", "vocab": file["model"]["vocab"], "unk_token": "gone"}


def _bpe(file: dict) -> None:
    file["model"] = {"type": "BPE", "vocab": file["model"]["vocab"], "merges": [], "unk_token": "gone"}


def _unigram(file: dict) -> None:
    file["model"] = {
        "type": "Unigram",
        "vocab": [[name, -1.0] for name in file["model"]["vocab"]],
        "unk_id": None,
    }


@pytest.mark.parametrize("change", [_wordpiece, _wordlevel, _bpe, _unigram])
@pytest.mark.parametrize("fast", [True, False])
def test_a_model_without_its_unknown_token_is_refused_at_a_text_that_needs_it(made, tmp_path, change, fast):
    file = json.loads(made["wordpiece"].save(tmp_path).read_text())
    change(file)
    if not fast:
        file["normalizer"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    tokenizer = Tokenizer.load(tmp_path)
    for call in (
        lambda: tokenizer.encode(["水 ☃"]),
        lambda: tokenizer.numbers("水 ☃"),
        lambda: tokenizer.masked("☃"),
    ):
        with pytest.raises(DataError, match="the tokenizer failed on a text"):
            call()


@pytest.mark.parametrize("form", ["single", "pair"])
@pytest.mark.parametrize("sequence", [True, False])
def test_a_template_with_a_token_that_has_no_id_is_refused(made, tmp_path, form, sequence):
    file = json.loads(made["wordpiece"].save(tmp_path).read_text())
    template = file["post_processor"]
    template[form][0]["SpecialToken"]["id"] = "gone"
    if sequence:
        file["post_processor"] = {"type": "Sequence", "processors": [template]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    with pytest.raises(
        DataError, match=r"has the token 'gone', which its special_tokens lack|not a tokenizer"
    ):
        Tokenizer.load(tmp_path)
