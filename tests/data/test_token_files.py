"""Tokenizers of many models: their form is that of the file, and a saved or exported file makes the same ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import processors as post

from labkit.base.errors import DataError
from labkit.data.text import Tokenizer

CORPUS = [
    "The film was wonderful, and the actors were wonderful too.",
    "A dull film; the plot was thin and the actors were not there.",
    "这部电影非常好看,演员也很好。",
    "电影不好看,剧情无聊。",
] * 4
TEXTS = [
    "", " ", "The film", "  two  blanks ", "电影 not good 👍🏽 film", "Ünïcode naïve", "a\nb\tc\u200b", "don't, 3.14!",
    "[CLS] film [MASK]", "<s> film </s><mask>", "<|endoftext|> film", "film. " * 30,
]  # fmt: skip


def byte_level(special: list[str], space: bool = False) -> tokenizers.Tokenizer:
    """Byte-level BPE as GPT-2 has it, without a post-processor."""
    rust = tokenizers.Tokenizer(models.BPE())
    rust.pre_tokenizer, rust.decoder = pre_tokenizers.ByteLevel(add_prefix_space=space), decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=special, show_progress=False, initial_alphabet=letters)
    rust.train_from_iterator(CORPUS, trainer)
    return rust


def gpt2() -> tokenizers.Tokenizer:
    rust = byte_level(["<|endoftext|>"])
    rust.post_processor = post.ByteLevel(trim_offsets=False)
    return rust


def roberta() -> tokenizers.Tokenizer:
    rust = byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    rust.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    rust.post_processor = post.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return rust


def llama() -> tokenizers.Tokenizer:
    start = "<|begin_of_text|>"
    rust = byte_level([start, "<|end_of_text|>", "<|eot_id|>"])
    form = post.TemplateProcessing(single=f"{start} $A", pair=f"{start} $A {start}:1 $B:1", special_tokens=[(start, 0)])
    rust.post_processor = post.Sequence([post.ByteLevel(trim_offsets=False), form])
    return rust


def unigram(single: str, pair: str) -> tokenizers.Tokenizer:
    rust = tokenizers.Tokenizer(models.Unigram())
    rust.normalizer, rust.pre_tokenizer, rust.decoder = (
        normalizers.NFKC(),
        pre_tokenizers.Metaspace(),
        decoders.Metaspace(),
    )
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=names, unk_token="<unk>", show_progress=False)
    rust.train_from_iterator(CORPUS, trainer)
    ends = [(name, rust.token_to_id(name)) for name in ("<s>", "</s>")]
    rust.post_processor = post.TemplateProcessing(single=single, pair=pair, special_tokens=ends)
    return rust


def words(names: list[str], unknown: str) -> tokenizers.Tokenizer:
    rust = tokenizers.Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=unknown))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    return rust


MADE: dict[str, Callable[[], Tokenizer]] = {
    "learnt WordPiece": lambda: Tokenizer.train(CORPUS, vocab_size=300),
    "learnt WordPiece, cased": lambda: Tokenizer.train(CORPUS, vocab_size=300, lowercase=False),
    "learnt BPE": lambda: Tokenizer.train(CORPUS, "bpe", vocab_size=400),
    "GPT-2": lambda: Tokenizer(gpt2()),
    "RoBERTa": lambda: Tokenizer(roberta()),
    "Llama 3": lambda: Tokenizer(llama()),
    "XLM-RoBERTa": lambda: Tokenizer(unigram("<s> $A </s>", "<s> $A </s> </s> $B </s>")),
    "Marian": lambda: Tokenizer(unigram("$A </s>", "$A $B </s>")),
    "ChatML": lambda: Tokenizer(byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])),
    "ELECTRA": lambda: Tokenizer(words(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "film"], "[UNK]")),
    "Llama 2": lambda: Tokenizer(words(["<unk>", "<s>", "</s>", "film"], "<unk>")),
}


@pytest.fixture(scope="module", params=MADE)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return MADE[request.param]()


def rows(tokens: Any) -> list[tuple[list[int], list[int]]]:
    """Ids and types of every row."""
    cuts = tokens.offsets[1:-1]
    return [
        (a.tolist(), b.tolist()) for a, b in zip(np.split(tokens.ids, cuts), np.split(tokens.types, cuts), strict=True)
    ]


def read(file: Path, texts: list[Any]) -> list[tuple[list[int], list[int]]]:
    """The same, of a ``tokenizer.json`` as its own library reads it."""
    rust = tokenizers.Tokenizer.from_file(str(file))
    rust.encode_special_tokens = True
    return [(row.ids, row.type_ids) for row in rust.encode_batch(texts)]


def same(tokenizer: Tokenizer, file: Path, texts: list[str]) -> None:
    """The file makes the ids of the tokenizer but for pieces that spell a special token, which are unknown here."""
    pairs = list(zip(texts, texts[::-1], strict=True))
    special = np.flatnonzero(tokenizer.reserved)
    for found, expected, form in (
        (rows(tokenizer.encode(texts, max_length=4096)), read(file, texts), tokenizer.single),
        (rows(tokenizer.encode(texts, texts[::-1], 4096)), read(file, pairs), tokenizer.pair),
    ):
        for (ids, types), (theirs, kinds) in zip(found, expected, strict=True):
            assert types == kinds and len(ids) == len(theirs)
            if np.isin(theirs, special).sum() <= form.size:
                assert ids == theirs


def test_a_saved_and_an_exported_file_make_the_same_ids(tokenizer: Tokenizer, tmp_path: Path) -> None:
    same(tokenizer, tokenizer.save(tmp_path / "run"), TEXTS)
    tokenizer.export(tmp_path / "out", 64)
    same(tokenizer, tmp_path / "out" / "tokenizer.json", TEXTS)
    expected = rows(tokenizer.encode(TEXTS, TEXTS[::-1], 40))
    for folder in ("run", "out"):
        again = Tokenizer.load(tmp_path / folder)
        assert rows(again.encode(TEXTS, TEXTS[::-1], 40)) == expected
        for name in ("pad_id", "unk_id", "cls_id", "sep_id", "mask_id", "end_ids", "end_id", "start_id"):
            assert getattr(again, name) == getattr(tokenizer, name), (folder, name)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Tokenizer, Path]]:
    folder = tmp_path_factory.mktemp("files")
    made = [(name, make()) for name, make in MADE.items()]
    return [(tokenizer, tokenizer.save(folder / name)) for name, tokenizer in made]


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=3))
def test_any_text_has_the_same_ids(files: list[tuple[Tokenizer, Path]], texts: list[str]) -> None:
    for tokenizer, file in files:
        same(tokenizer, file, texts)


def test_the_form_of_the_file() -> None:
    # expected by hand, from the templates of the papers and files
    expected = {
        "RoBERTa": ([0, "A", 2], [0, "A", 2, 2, "B", 2], [0, 0]),
        "Llama 3": ([0, "A"], [0, "A", 0, "B"], [0, 1]),
        "Marian": (["A", 2], ["A", "B", 2], [0, 0]),
        "GPT-2": ([0, "A", 0], [0, "A", 0, "B", 0], [0, 1]),
        "ELECTRA": ([2, "A", 3], [2, "A", 3, "B", 3], [0, 1]),
    }
    for name, (single, pair, types) in expected.items():
        tokenizer = MADE[name]()
        a, b = tokenizer.numbers("film"), tokenizer.numbers("the film")
        for form, pairs in ((single, None), (pair, ["the film"])):
            ids = [number for part in form for number in ({"A": a, "B": b}.get(part, [part]))]
            assert tokenizer.encode(["film"], pairs).ids.tolist() == ids, name
        row = tokenizer.encode(["film"], ["the film"])
        assert row.types[[len(tokenizer.single.before), -len(b) - len(tokenizer.pair.after)]].tolist() == types, name


def test_a_template_that_repeats_a_text_is_refused() -> None:
    rust = words(["<unk>", "<s>", "</s>"], "<unk>")
    rust.post_processor = post.TemplateProcessing(single="<s> $A $A", pair="$B $A", special_tokens=[("<s>", 1)])
    with pytest.raises(DataError, match=r"post-processor \(TemplateProcessing\) does not keep 1 text"):
        Tokenizer(rust)


def test_what_an_export_says(tmp_path: Path) -> None:
    Tokenizer.train(CORPUS, vocab_size=300, lowercase=False).export(tmp_path, 64)
    said = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert said["tokenizer_class"] == "PreTrainedTokenizerFast" and said["model_max_length"] == 64
    assert said["do_lower_case"] is False and said["tokenize_chinese_chars"] is True and said["split_special_tokens"]
    assert [said[f"{role}_token"] for role in ("pad", "unk", "cls", "sep", "mask", "bos", "eos")] == [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[CLS]", "[SEP]",
    ]  # fmt: skip
    assert said["model_input_names"] == ["input_ids", "token_type_ids", "attention_mask"]
    named = json.loads((tmp_path / "special_tokens_map.json").read_text())
    assert named == {key: value for key, value in said.items() if key in named} and len(named) == 7
    MADE["Llama 3"]().export(tmp_path / "gpt", 32, types=False, prompts=True, padding_side="right")
    said = json.loads((tmp_path / "gpt" / "tokenizer_config.json").read_text())
    assert said["mask_token"] is None and said["pad_token"] == "<|end_of_text|>", "padding is masked"
    assert said["padding_side"] == "right", "what is given wins"
