"""The tokenizer: safe on any text, the same ids every time, BERT's form exactly."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers

from labkit.core.errors import ConfigError, DataError
from labkit.data.text import tokenizer as module
from labkit.data.text.tokenizer import Tokenizer

CORPUS = [
    "The film was wonderful, and the actors were wonderful too.",
    "A dull film; the plot was thin and the actors were not there.",
    "这部电影非常好看,演员也很好。",
    "电影不好看,剧情无聊。",
    "Wonderful wonderful film film actors plot dull thin 3 10 ten.",
] * 3
KINDS = ("wordpiece", "bpe")


@pytest.fixture(scope="module")
def made() -> dict[str, Tokenizer]:
    return {
        "wordpiece": Tokenizer.train(CORPUS, vocab_size=300),
        "bpe": Tokenizer.train(CORPUS, "bpe", vocab_size=400),
    }


def rows(tokens) -> list[list[int]]:
    return [part.tolist() for part in np.split(tokens.ids, tokens.offsets[1:-1])] if len(tokens) else []


@pytest.mark.parametrize("kind", KINDS)
def test_training_gives_known_words_and_reads_back_the_same(made, kind, tmp_path):
    tokenizer = made[kind]
    assert tokenizer.unk_id not in tokenizer.encode(CORPUS, max_length=64).ids
    text = "the film was wonderful"
    ids = rows(tokenizer.encode([text], max_length=64))[0]
    assert ids[0] == tokenizer.cls_id and ids[-1] == tokenizer.sep_id
    assert len(ids) == 6, "frequent words are one piece each"
    assert tokenizer.decode(ids).strip() == text
    path = tokenizer.save(tmp_path / "new" / "folder")
    for place in (path, path.parent):
        again = Tokenizer.load(place)
        assert again.fingerprint == tokenizer.fingerprint and again.vocab_size == tokenizer.vocab_size
        assert rows(again.encode(CORPUS, CORPUS, 64)) == rows(tokenizer.encode(CORPUS, CORPUS, 64))
    assert [item.name for item in path.parent.iterdir()] == ["tokenizer.json"]


def test_chinese_characters_are_words_of_their_own(made):
    assert [piece for piece, _, _ in made["wordpiece"].pieces("电影好x")] == ["电", "影", "好", "[UNK]"]
    assert made["bpe"].decode(rows(made["bpe"].encode(["龘 new 电影"], max_length=64))[0]) == "龘 new 电影"


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_give_the_same_ids_in_another_process(kind):
    # many ties: with the trainer left to itself the ids, and the pieces, differ from process to process
    code = (
        "import random; from labkit.data.text.tokenizer import Tokenizer; random.seed(1);"
        "texts = [''.join(random.choices('abcdefghijklm éß中文字', k=9)) for _ in range(400)];"
        f"print(Tokenizer.train(texts, {kind!r}, vocab_size=330).fingerprint)"
    )
    seen = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
            for _ in range(3)}  # fmt: skip
    assert len(seen) == 1 and len(seen.pop()) == 64


def test_rare_characters_are_not_learnt_and_the_vocabulary_stays_within_its_size():
    texts = ["".join(map(chr, range(0x4E00, 0x4E00 + 500))), "common common common words"]
    tokenizer = Tokenizer.train(texts, vocab_size=100)
    assert [piece for piece, _, _ in tokenizer.pieces("一 common")] == ["[UNK]", "common"]
    assert Tokenizer.train(texts, vocab_size=100, min_frequency=1).vocab_size == 100
    assert Tokenizer.train(texts, "bpe", vocab_size=270).vocab_size == 270


def test_case_and_accents(made):
    assert (
        rows(made["wordpiece"].encode(["FILM", "film", "fïlm"]))[0]
        == rows(made["wordpiece"].encode(["fïlm"]))[0]
    )
    cased = Tokenizer.train(CORPUS, vocab_size=300, lowercase=False)
    assert rows(cased.encode(["The"])) != rows(cased.encode(["the"]))
    assert made["bpe"].decode(rows(made["bpe"].encode(["FILM"]))[0]) == "film"


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=300, deadline=None)
@given(texts=st.lists(st.text(st.characters()), max_size=4), length=st.integers(5, 20), paired=st.booleans())
def test_any_text_is_encoded(made, kind, texts, length, paired):
    tokenizer = made[kind]
    pairs = [text[::-1] for text in texts] if paired else None
    tokens = tokenizer.encode(texts, pairs, length)
    assert len(tokens) == len(texts) and tokens.offsets[-1] == len(tokens.ids) == len(tokens.types)
    special = [tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id, tokenizer.mask_id]
    for ids in rows(tokens):
        assert ids[0] == tokenizer.cls_id and ids[-1] == tokenizer.sep_id and len(ids) <= length
        assert sum(number in special for number in ids) == 2 + paired
    for text in texts:
        for piece, number, (start, end) in tokenizer.pieces(text):
            assert piece and 0 <= number < tokenizer.vocab_size and 0 <= start <= end <= len(text)


def test_surrogates_become_replacement_characters(made):
    lone, repaired = rows(made["bpe"].encode(["a\ud83d b\udfff", "a\ufffd b\ufffd"]))
    assert lone == repaired
    learnt = Tokenizer.train([*CORPUS, "\udfff\udfff"], vocab_size=300)
    assert learnt.pieces("film\udcba film")[1] == learnt.pieces("film\ufffd film")[1], (
        "places in the text stay"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_special_token_text_is_plain_text(made, kind):
    tokenizer = made[kind]
    special = {tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id, tokenizer.mask_id}
    for name in ("[CLS]", "[SEP]", "[PAD]", "[MASK]", "<s>", "<|endoftext|>"):
        for row in rows(tokenizer.encode([f"hi {name} there", name])):
            assert len(row) > 3 and not set(row[1:-1]) & special


def test_special_token_text_is_plain_even_where_it_is_a_word():
    vocab = {name: number for number, name in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hi"])}
    rust = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    rust.pre_tokenizer = (
        pre_tokenizers.WhitespaceSplit()
    )  # "[CLS]" is one word, and that is in the vocabulary
    tokenizer = Tokenizer(rust)
    assert rows(tokenizer.encode(["hi [CLS] [MASK]"])) == [[2, 5, 1, 1, 3]]
    assert [number for _, number, _ in tokenizer.pieces("hi [CLS]")] == [5, 1]


def test_pairs_are_cut_as_transformers_cuts_them(made, tmp_path):
    """ "longest_first" of the library that reads a saved file."""
    tokenizer = made["wordpiece"]
    rust = tokenizers.Tokenizer.from_file(str(tokenizer.save(tmp_path)))
    first = ["film " * n for n in range(8) for _ in range(8)]
    second = ["dull " * n for _ in range(8) for n in range(8)]
    for length in (5, 8, 9, 16):
        tokens = tokenizer.encode(first, second, length)
        rust.enable_truncation(length)
        theirs = rust.encode_batch(list(zip(first, second, strict=True)))
        assert rows(tokens) == [row.ids for row in theirs]
        types = [tokens.types[a:b].tolist() for a, b in pairwise(tokens.offsets)]
        assert types == [row.type_ids for row in theirs]
        assert tokens.truncated == sum(i // 8 + i % 8 > length - 3 for i in range(64))


def test_truncation_is_counted(made):
    tokens = made["wordpiece"].encode(["film " * n for n in (0, 3, 4, 5, 900)], max_length=6)
    assert tokens.lengths.tolist() == [2, 5, 6, 6, 6] and tokens.truncated == 2
    assert tokens.label.tolist() == [-1] * 5 and tokens.row.tolist() == list(range(5))
    assert (tokens.ids.dtype, tokens.types.dtype, tokens.offsets.dtype) == (np.int32, np.uint8, np.int64)
    assert tokens.lengths.dtype == tokens.row.dtype == np.int64 and tokens.label.dtype == np.int32


@pytest.mark.parametrize("kind", KINDS)
def test_reading_only_the_head_of_a_long_text_changes_nothing(made, kind):
    tokenizer = made[kind]
    texts = [
        (sentence + filler) * 40 for sentence in CORPUS[:5] for filler in (" ", "  \n ", " " * 700, "好" * 99)
    ]
    texts += ["x" * 3000 + " film", " " * 3000 + "film dull", "wonderfulfilm, " * 300]
    texts += ["x " * n + "wonderful " * 100 for n in range(5)]  # the cut falls at every place of the word
    texts += ["film " * 6 + " " * 600 + "film"]  # what is read first just fills the row, yet more follows
    whole = [tokenizer.rust.encode(text, add_special_tokens=False).ids for text in texts]
    for length in (8, 40, *range(50, 60), 200):
        tokens = tokenizer.encode(texts, max_length=length)
        for ids, full in zip(rows(tokens), whole, strict=True):
            assert ids[1:-1] == full[: length - 2]
        assert tokens.truncated == sum(len(full) > length - 2 for full in whole)


def test_huge_texts_are_bounded(made, monkeypatch):
    monkeypatch.setattr(module, "READ", 20_000)
    read: list[int] = []
    head = module.head_of

    def counted(text: str, limit: int) -> str:
        read.append(len(head(text, limit)))
        return head(text, limit)

    monkeypatch.setattr(module, "head_of", counted)
    many = 5_000_000
    texts = ["film " * many, "电" * many, " " * many + "film", "x" * many, "film " + "电" * many]
    tokens = made["wordpiece"].encode(texts, max_length=64)
    assert tokens.lengths.tolist() == [64, 64, 2, 3, 64] and tokens.truncated == 5
    assert sum(read) < 5 * 512 + 3 * 20_000 + 1, "characters that Rust had to read, of 45 million"


def test_many_texts_go_through_in_parts(made, monkeypatch):
    texts = [f"film {n} dull" for n in range(50)]
    expected = rows(made["wordpiece"].encode(texts, texts, 12))
    monkeypatch.setattr(module, "_AT_ONCE", 7)
    assert rows(made["wordpiece"].encode(texts, texts, 12)) == expected
    assert len(made["wordpiece"].encode([], max_length=12)) == 0


def bert_files(folder, words: list[str], **options) -> Tokenizer:
    folder.mkdir()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]"]
    (folder / "vocab.txt").write_text("\n".join(special + words) + "\n", encoding="utf-8")
    if options:
        (folder / "tokenizer_config.json").write_text(json.dumps(options))
    return Tokenizer.load(folder)


def test_vocabulary_files(tmp_path):
    plain = bert_files(tmp_path / "plain", ["film", "##s", "电", "影", "\u2028", "e"])
    assert plain.vocab_size == 12, "U+2028 is a piece, not the end of a line"
    assert [piece for piece, _, _ in plain.pieces("FILMS 电影 é")] == ["film", "##s", "电", "影", "e"]
    cased = bert_files(tmp_path / "cased", ["Film", "film"])
    assert [piece for piece, _, _ in cased.pieces("Film film FILM")] == ["Film", "film", "[UNK]"]
    told = bert_files(
        tmp_path / "told", ["film", "Film", "电影"], do_lower_case=True, tokenize_chinese_chars=False
    )
    assert [piece for piece, _, _ in told.pieces("Film 电影")] == ["film", "电影"]
    kept = bert_files(tmp_path / "kept", ["é", "e"], do_lower_case=True, strip_accents=False)
    assert [piece for piece, _, _ in kept.pieces("É")] == ["é"]
    same = Tokenizer.load(tmp_path / "plain" / "vocab.txt")
    assert same.fingerprint == plain.fingerprint != kept.fingerprint


def test_padding_and_truncation_of_a_file_are_ignored(made, tmp_path):
    rust = tokenizers.Tokenizer.from_str(made["wordpiece"].rust.to_str())
    rust.enable_padding(length=40)
    rust.enable_truncation(3)
    rust.save(str(tmp_path / "tokenizer.json"))
    loaded = Tokenizer.load(tmp_path)
    assert rows(loaded.encode(CORPUS)) == rows(made["wordpiece"].encode(CORPUS))
    assert len(loaded.pieces(CORPUS[0])) > 5


def test_a_saved_file_is_whole_for_other_programs(made, tmp_path):
    for tokenizer in made.values():
        other = tokenizers.Tokenizer.from_file(str(tokenizer.save(tmp_path)))
        both = other.encode(CORPUS[0], CORPUS[1])
        tokens = tokenizer.encode(CORPUS[:1], CORPUS[1:2], 512)
        assert both.ids == tokens.ids.tolist() and both.type_ids == tokens.types.tolist()


def test_names_of_other_models_are_found(tmp_path):
    rust = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    rust.train_from_iterator(
        CORPUS, trainers.BpeTrainer(special_tokens=names, show_progress=False, vocab_size=300)
    )
    rust.save(str(tmp_path / "tokenizer.json"))
    found = Tokenizer.load(tmp_path)
    assert [found.cls_id, found.pad_id, found.sep_id, found.unk_id, found.mask_id] == [0, 1, 2, 3, 4]


def test_what_is_wrong_with_a_file_is_said(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"no tokenizer.json or vocab.txt in .*\(pytorch_model.bin\)"):
        Tokenizer.load(tmp_path)
    with pytest.raises(DataError, match="no such path"):
        Tokenizer.load(tmp_path / "nowhere")
    (tmp_path / "tokenizer.json").write_text('{"model": 1}')
    with pytest.raises(DataError, match=r"tokenizer.json in .* is not a tokenizer"):
        Tokenizer.load(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[SEP]\nword\n")
    with pytest.raises(DataError, match=r"\(4 tokens\) has no \[CLS\] or <s>\."):
        Tokenizer.load(tmp_path / "vocab.txt")


def test_what_is_wrong_with_the_arguments_is_said(made):
    tokenizer = made["wordpiece"]
    with pytest.raises(DataError, match=r"a list of texts, not one string: \['abc'\]"):
        tokenizer.encode("abc")
    with pytest.raises(DataError, match="text 1 is None, a NoneType"):
        tokenizer.encode(["a", None])
    with pytest.raises(DataError, match="2 texts but 1 second"):
        tokenizer.encode(["a", "b"], ["c"])
    with pytest.raises(ConfigError, match="max_length = 2 leaves no room"):
        tokenizer.encode(["a"], max_length=2)
    with pytest.raises(ConfigError, match="max_length = 4 leaves no room"):
        tokenizer.encode(["a"], ["b"], max_length=4)
    with pytest.raises(ConfigError, match="Did you mean 'wordpiece'"):
        Tokenizer.train(CORPUS, kind="word-piece")
    with pytest.raises(ConfigError, match="vocab_size = 100 is too small for bpe: at least 261"):
        Tokenizer.train(CORPUS, kind="bpe", vocab_size=100)
    with pytest.raises(DataError, match="no text to train"):
        Tokenizer.train(["", "  "])


@pytest.mark.samples
def test_the_real_vocabulary_of_minilm(tmp_path):
    from labkit.hub.samples import folder

    real = Tokenizer.load(folder("minilm-l6"))
    assert (real.vocab_size, real.pad_id, real.unk_id, real.cls_id, real.sep_id) == (30522, 0, 100, 101, 102)
    text = "Hello, [CLS] wörld! 天下龘 unaffable\ud800"
    names = [real.rust.id_to_token(number) for number in real.encode([text]).ids]
    assert " ".join(names) == "[CLS] hello , [ cl ##s ] world ! 天 下 [UNK] una ##ffa ##ble [SEP]"
    vocab = sorted(real.rust.get_vocab().items(), key=lambda item: item[1])
    (tmp_path / "vocab.txt").write_text("\n".join(name for name, _ in vocab), encoding="utf-8")
    again = Tokenizer.load(tmp_path)
    assert again.encode([text, *CORPUS]).ids.tolist() == real.encode([text, *CORPUS]).ids.tolist()
