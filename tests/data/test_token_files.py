"""Tokenizers of many models: their form is that of the file, and a saved or exported file makes the same ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors as post

from labkit.core.errors import DataError
from labkit.data.text.tokenizer import Tokenizer

from .vocabularies import CORPUS, MADE, TEXTS, byte_level, words


@pytest.fixture(scope="module", params=MADE)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return MADE[request.param]()


def rows(tokens: Any) -> list[tuple[list[int], list[int]]]:
    """Ids and types of every row."""
    cuts = tokens.offsets[1:-1]
    return [
        (a.tolist(), b.tolist())
        for a, b in zip(np.split(tokens.ids, cuts), np.split(tokens.types, cuts), strict=True)
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
        assert (
            row.types[[len(tokenizer.single.before), -len(b) - len(tokenizer.pair.after)]].tolist() == types
        ), name


def test_a_template_that_repeats_a_text_is_refused() -> None:
    rust = words(["<unk>", "<s>", "</s>"], "<unk>")
    rust.post_processor = post.TemplateProcessing(
        single="<s> $A $A", pair="$B $A", special_tokens=[("<s>", 1)]
    )
    with pytest.raises(DataError, match=r"post-processor \(TemplateProcessing\) does not keep 1 text"):
        Tokenizer(rust)


def test_what_an_export_says(tmp_path: Path) -> None:
    Tokenizer.train(CORPUS, vocab_size=300, lowercase=False).export(tmp_path, 64)
    said = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert said["tokenizer_class"] == "PreTrainedTokenizerFast" and said["model_max_length"] == 64
    assert (
        said["do_lower_case"] is False
        and said["tokenize_chinese_chars"] is True
        and said["split_special_tokens"]
    )
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


def folder_of(path: Path, **files: Any) -> Path:
    """A folder of JSON files (``tokenizer_config={...}``) and texts (``merges_txt="…"``)."""
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        if name.endswith("_txt"):
            (path / f"{name[:-4]}.txt").write_text(content, encoding="utf-8")
        else:
            (path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return path


VOCAB = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", "b", "ab", "Ġ", "Ġa", "Ġab"]
MERGES = "#version: 0.2\na b\nĠ a\nĠ ab\n"


def test_a_vocabulary_with_merges(tmp_path: Path) -> None:
    numbers = {name: i for i, name in enumerate(VOCAB)}
    folder = folder_of(tmp_path / "roberta", vocab=numbers, merges_txt=MERGES)
    made = Tokenizer.load(folder)
    row = made.encode(["ab ab"], ["a"])
    assert row.ids.tolist() == [0, 7, 10, 2, 2, 5, 2] and not row.types.any()
    assert made.masked("ab<mask> a") == [7, 4, 9] and made.masked("ab [MASK] a") == [7, 4, 9], (
        "no blank is left"
    )
    folder_of(folder, tokenizer_config={"add_prefix_space": True, "tokenizer_class": "RobertaTokenizer"})
    assert Tokenizer.load(folder).encode(["ab"]).ids.tolist() == [0, 10, 2]
    assert Tokenizer.load(folder / "vocab.json").encode(["ab"]).ids.tolist() == [0, 10, 2]

    plain = {"<|endoftext|>": 0, "<|pad|>": 1, "a": 2, "b": 3, "ab": 4, "Ġ": 5, "Ġa": 6, "Ġab": 7}
    folder = folder_of(tmp_path / "gpt2", vocab=plain, merges_txt=MERGES, added_tokens={"<|im_end|>": 8})
    made = Tokenizer.load(folder)
    assert (
        made.encode(["ab ab"]).ids.tolist() == [0, 4, 7, 0] and made.vocab_size == 9 and made.mask_id is None
    )
    assert made.prompt("ab").tolist() == [4] and (made.pad_id, made.end_ids) == (1, (0,))
    folder_of(
        folder, special_tokens_map={"eos_token": {"content": "<|im_end|>"}, "pad_token": "<|endoftext|>"}
    )
    made = Tokenizer.load(folder)
    assert (made.pad_id, made.end_ids, made.decode([4, 8])) == (0, (8,), "ab")
    (folder / "vocab.json").rename(folder / "encoder.json")
    (folder / "merges.txt").rename(folder / "vocab.bpe")
    assert Tokenizer.load(folder).encode(["ab"]).ids.tolist() == made.encode(["ab"]).ids.tolist()


def test_what_is_not_read_is_refused_by_name(tmp_path: Path) -> None:
    for name in ("source.spm", "spiece.model", "sentencepiece.bpe.model"):
        folder = folder_of(tmp_path / name, vocab={"a": 0})
        (folder / name).write_bytes(b"\x0a")
        with pytest.raises(
            DataError, match=rf"{name} in .* is a sentencepiece model.*Convert it to tokenizer.json"
        ):
            Tokenizer.load(folder)
        with pytest.raises(DataError, match=f"{name} in .* is a sentencepiece model"):
            Tokenizer.load(folder / name)
    folder = folder_of(tmp_path / "half", vocab={"a": 0})
    with pytest.raises(DataError, match=r"'.*half' has a vocabulary without merges.txt"):
        Tokenizer.load(folder)
    folder_of(folder, merges_txt=MERGES, config={"model_type": "qwen2"})
    with pytest.raises(DataError, match=r"belongs to a 'qwen2', which does not split texts as GPT-2 does"):
        Tokenizer.load(folder)
    japanese = folder_of(tmp_path / "ja", vocab_txt="[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n映画\n")
    assert Tokenizer.load(japanese).encode(["x"]).ids.tolist() == [2, 1, 3]
    folder_of(japanese, tokenizer_config={"tokenizer_class": "BertJapaneseTokenizer"})
    with pytest.raises(DataError, match=r"'BertJapaneseTokenizer', which does not split texts as BERT does"):
        Tokenizer.load(japanese)
    folder_of(folder, vocab={"a": 0, "b": 1, "ab": 2}, merges_txt="a b", config={"model_type": "gpt2"})
    folder_of(folder, added_tokens={"x": 9})
    with pytest.raises(DataError, match=r"the token 'x' has the id 3 in the vocabulary of .*, but 9"):
        Tokenizer.load(folder)
    folder_of(folder, added_tokens=["x"])
    with pytest.raises(DataError, match=r"added_tokens.json in .* contains a list, not a table of settings"):
        Tokenizer.load(folder)
    (folder / "added_tokens.json").write_text("{")
    with pytest.raises(DataError, match=r"added_tokens.json in .* cannot be read"):
        Tokenizer.load(folder)
    with pytest.raises(
        DataError, match=r"\(1 tokens\) has no end token: no \[SEP\] or </s> or .*Set eos_token"
    ):
        Tokenizer(words(["x"], "x"))


def written(rust: tokenizers.Tokenizer, folder: Path, **files: Any) -> Tokenizer:
    folder_of(folder, **files)
    rust.save(str(folder / "tokenizer.json"))
    return Tokenizer.load(folder)


def test_special_tokens_are_those_that_the_files_name(tmp_path: Path) -> None:
    chat = lambda: byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>", "[PAD]"])  # noqa: E731
    names = {
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": {"content": "<|endoftext|>"},
        "unk_token": None,
    }
    made = written(chat(), tmp_path / "qwen", tokenizer_config=names)
    assert (made.cls_id, made.sep_id, made.pad_id, made.mask_id, made.end_ids) == (None, 2, 0, None, (2,))
    assert made.encode(["a"]).ids.tolist() == [*made.numbers("a"), 2], (
        "no start token where the file says there is none"
    )
    # the lists of generation_config.json go before those of config.json
    several = {
        "eos_token_id": [2, 1],
        "bos_token_id": 0,
        "decoder_start_token_id": 3,
        "forced_bos_token_id": None,
    }
    made = written(
        chat(),
        tmp_path / "ends",
        config={"eos_token_id": 0, "model_type": "llama"},
        generation_config=several,
    )
    assert (made.end_ids, made.end_id, made.start_id, made.roles.forced_first) == ((2, 1), 2, 3, None)
    assert [made.encode(["a"]).ids[0], made.running[0].encode(["a"]).ids[-1]] == [0, 2]
    again = Tokenizer.load(made.save(tmp_path / "again"))
    assert (again.end_ids, again.end_id, again.start_id) == ((2, 1), 2, 3)
    # ids beyond the vocabulary are defaults of a class; those of an encoder mean nothing
    for number, config in enumerate(({"eos_token_id": 50256}, {"eos_token_id": 1, "model_type": "roberta"})):
        made = written(chat(), tmp_path / f"junk {number}", config=config)
        assert made.end_ids == (0,)


def test_the_template_shows_special_tokens_of_any_name() -> None:
    rust = words(["go", "stop", "film", "none"], "none")
    rust.post_processor = post.TemplateProcessing(
        single="go $A stop", pair="go $A stop $B stop", special_tokens=[("go", 0), ("stop", 1)]
    )
    tokenizer = Tokenizer(rust)
    assert (tokenizer.cls_id, tokenizer.sep_id, tokenizer.end_ids, tokenizer.mask_id) == (0, 1, (1,), None)


def test_the_form_of_a_running_text_and_of_targets() -> None:
    for name, running, target in (
        ("learnt BPE", ["A", 3], [2, "A", 3]),
        ("Llama 3", [0, "A", 1], [0, "A", 1]),
        ("GPT-2", ["A", 0], [0, "A", 0]),
        ("Marian", ["A", 2], [0, "A", 2]),
    ):
        tokenizer = MADE[name]()
        a = tokenizer.numbers("film")
        made, skip = tokenizer.running
        for found, form in (
            (made.encode(["film"]).ids[skip:], running),
            (tokenizer.targets.encode(["film"]).ids, target),
        ):
            assert found.tolist() == [number for part in form for number in (a if part == "A" else [part])], (
                name
            )


def test_a_tokenizer_config_of_bert_overrules_the_normaliser(tmp_path: Path) -> None:
    rust = Tokenizer.train(CORPUS, vocab_size=300).rust
    made = written(
        rust,
        tmp_path / "cased",
        tokenizer_config={"do_lower_case": False, "tokenizer_class": "BertTokenizer"},
    )
    assert made.encode(["FILM"]).ids.tolist() != made.encode(["film"]).ids.tolist()
    generic = {"do_lower_case": False, "tokenizer_class": "PreTrainedTokenizerFast"}
    made = written(rust, tmp_path / "as it is", tokenizer_config=generic)
    assert made.encode(["FILM"]).ids.tolist() == made.encode(["film"]).ids.tolist()


def test_masks_are_put_in_as_the_library_does() -> None:
    for name in ("RoBERTa", "XLM-RoBERTa", "learnt WordPiece"):
        tokenizer = MADE[name]()
        rust = tokenizers.Tokenizer.from_str(tokenizer.rust.to_str())
        mask = tokenizer.names([tokenizer.mask_id])[0]
        for text in (
            "the film was {} and dull",
            "{} film",
            "film {}",
            "film{}",
            "{}",
            "电影 {} 好",
            "  {}  {} x",
        ):
            expected = rust.encode(text.format(mask, mask), add_special_tokens=False).ids
            assert tokenizer.masked(text.format(mask, mask)) == expected, (name, text)
            assert tokenizer.masked(text.format("[MASK]", mask)) == expected
    learnt = MADE["learnt BPE"]()
    whole = learnt.numbers("the film was dull")
    assert learnt.masked("the [MASK] was dull") == [whole[0], learnt.mask_id, *whole[2:]], (
        "the blank goes with the word"
    )
    assert learnt.mask_id not in learnt.masked("the <mask> [SEP] x")


def test_every_reader_of_a_pair_has_the_form_of_the_file() -> None:
    from labkit.app.widgets.tokens import read_as
    from labkit.data.batching.qa_windows import windows

    a, b = "the film was wonderful", "the plot was dull and thin"
    for name in ("learnt WordPiece", "RoBERTa", "XLM-RoBERTa"):
        tokenizer = MADE[name]()
        rust = tokenizers.Tokenizer.from_str(tokenizer.rust.to_str())
        whole = rust.encode(a, b)
        made = windows([a], [b], tokenizer, 64, 8, [(4, 8)])
        assert made.tokens.ids.tolist() == whole.ids and made.tokens.types.tolist() == whole.type_ids
        assert made.tokens.ids[made.first[0] :].tolist() == whole.ids[-len(tokenizer.numbers(b)) - 1 :]
        assert [number for _, number, _, _ in read_as(tokenizer, [a, b], 64)] == whole.ids
        row, types = tokenizer.row(tokenizer.numbers(a), tokenizer.numbers(b))
        assert row.tolist() == whole.ids and types.tolist() == whole.type_ids
        for length in (64, 12, 9):
            ids = tokenizer.encode([a], [b], length).ids.tolist()
            for (begin, count), text in zip(tokenizer.places(a, b, length), (a, b), strict=True):
                assert ids[begin : begin + count] == tokenizer.numbers(text)[:count]
            assert sum(count for _, count in tokenizer.places(a, b, length)) == len(ids) - tokenizer.pair.size
        single = tokenizer.encode([a], max_length=5).ids.tolist()
        ((begin, count),) = tokenizer.places(a, None, 5)
        assert (
            single[begin : begin + count] == tokenizer.numbers(a)[:count]
            and count == 5 - tokenizer.single.size
        )
        shown = read_as(tokenizer, [a], 5)
        assert [number for _, number, _, kind in shown if kind != "cut"] == single
