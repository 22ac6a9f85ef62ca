"""Tokenizers of the kinds that models have, made from a few lines of text: by name, see ``MADE``."""

from __future__ import annotations

from collections.abc import Callable

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import processors as post

from labkit.data.text.tokenizer import Tokenizer

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
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=special, show_progress=False, initial_alphabet=letters
    )
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
    form = post.TemplateProcessing(
        single=f"{start} $A", pair=f"{start} $A {start}:1 $B:1", special_tokens=[(start, 0)]
    )
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
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=names, unk_token="<unk>", show_progress=False
    )
    rust.train_from_iterator(CORPUS, trainer)
    ends = [(name, rust.token_to_id(name)) for name in ("<s>", "</s>")]
    rust.post_processor = post.TemplateProcessing(single=single, pair=pair, special_tokens=ends)
    return rust


def words(names: list[str], unknown: str) -> tokenizers.Tokenizer:
    rust = tokenizers.Tokenizer(
        models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=unknown)
    )
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
    "T5": lambda: Tokenizer(words(["<pad>", "</s>", "<unk>", "film"], "<unk>")),
    "Llama 2": lambda: Tokenizer(words(["<unk>", "<s>", "</s>", "film"], "<unk>")),
}
