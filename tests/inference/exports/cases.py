"""Tiny models of every layout, task, pooling and tokenizer, exported: a pairwise cover, whose files and answers are the
same on every machine. No training: its bits depend on the processor, so the parameters are drawn from NumPy."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from flax import nnx
from tokenizers import decoders, normalizers, pre_tokenizers, processors
from tokenizers import models as kinds

import labkit as lk
from labkit.api import Run
from labkit.planning import experiment_of
from labkit.runs.store import Store
from labkit.train.context import prepare, save_model

SIZES = {"width": 8, "heads": 2, "mlp_width": 16, "max_length": 32}
LENGTH = 24
WORDS = ("good", "bad", "film", "a", "the", "long", "plot", "看", "电影", "好", "not", "and", "fine", "dull")
TEXTS = [
    "a good film",
    "",
    "Not a bad film, and the PLOT is fine 🙂",
    "电影好看！",
    "the long dull film " * 12,
    "x\u00e9 👩\u200d👧 y",
]
PAIRS = ["the plot", "a dull film", "bad 🙂", "good", "and a good plot " * 9, "电影"]
MASKED = ["a good [MASK].", "the [MASK] plot is [MASK]", "好[MASK]影"]
QUESTIONS, PARAGRAPHS = (
    ["a film?", "who", "好看"],
    ["the long film is good", "bad and dull", "电影好看 and fine"],
)
PROMPTS = ["a good", "the", "电影"]


@dataclass(frozen=True)
class Case:
    """One export: layout (or family), task, pooling where the task has one, and where its tokenizer comes from."""

    layout: str
    task: str
    tokenizer: str  # "loaded", "wordpiece", "bpe"
    pooling: str = ""
    pairs: bool = False

    @property
    def name(self) -> str:
        return "-".join(
            filter(None, (self.layout, self.task, self.pooling, self.tokenizer, "pairs" * self.pairs))
        )


def _cover() -> list[Case]:
    """Encoders: every pooling with every task that has one (16), laid out so that all pairs of layout, tokenizer,
    pooling and task come up; then the tasks without one, the decoders, and the translators."""
    layouts, sources = ("bert", "roberta", "xlm-roberta", "distilbert"), ("loaded", "wordpiece", "bpe")
    tasks, poolings = ("classify", "multilabel", "regress", "embed"), ("cls", "mean", "first", "max")
    cases = [
        Case(
            layouts[(i + j) % 4],
            task,
            sources[(i + 2 * j) % 3],
            pooling,
            pairs=(i + j) % 2 == 0 and task != "embed",
        )
        for i, task in enumerate(tasks)
        for j, pooling in enumerate(poolings)
    ]
    for i, layout in enumerate(layouts):
        cases += [Case(layout, "qa", sources[(i + 2) % 3]), Case(layout, "pretrain", sources[(i + 1) % 3])]
    cases += [
        Case("gpt2", "classify", "loaded", pairs=True), Case("gpt2", "multilabel", "wordpiece"),
        Case("gpt2", "regress", "bpe"), Case("gpt2", "lm", "loaded"), Case("llama", "classify", "bpe"),
        Case("llama", "multilabel", "loaded", pairs=True), Case("llama", "lm", "wordpiece"), Case("llama", "lm", "bpe"),
        *(Case(layout, "seq2seq", source) for layout in ("marian", "pegasus") for source in sources),
    ]  # fmt: skip
    return cases


CASES = {case.name: case for case in _cover()}


def rows_of(case: Case) -> tuple[Any, dict[str, Any]]:
    """Rows for the task, and arguments of ``lk.load``."""
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS, 6)) for _ in range(60)]
    other = [" ".join(random.choice(WORDS, 4)) for _ in range(60)]
    rows = [{"text": text, "other": pair} for text, pair in zip(texts, other, strict=True)]
    two = {"text": ("text", "other")} if case.pairs or case.task in ("seq2seq", "qa") else {"text": "text"}
    if case.task == "classify":
        return [{**row, "y": "abc"[i % 3]} for i, row in enumerate(rows)], {**two, "label": "y"}
    if case.task == "multilabel":
        return [{**row, "y": [["red"], ["red", "blue"], []][i % 3]} for i, row in enumerate(rows)], {
            **two,
            "label": "y",
        }
    if case.task == "regress":
        return [{**row, "y": 1000.0 + i % 7} for i, row in enumerate(rows)], {**two, "number": "y"}
    if case.task == "qa":
        answered = [{**row, "answer": row["other"].split()[0], "answer_start": 0} for row in rows]
        return answered, {**two, "label": False}
    return rows, {**two, "label": False}


def model_of(case: Case, folder: Path) -> Any:
    """The config: fresh, or of a folder with a tokenizer of the layout's own kind."""
    if case.layout in ("gpt2", "llama"):
        sizes = {**SIZES, "family": case.layout, "depth": 1, "tied": case.layout == "gpt2", "dropout": 0.0}
        kind = lk.models["gpt"]
    elif case.layout in ("marian", "pegasus"):
        sizes = {**SIZES, "encoder_depth": 1, "decoder_depth": 1, "norm_first": case.layout == "pegasus"}
        kind = lk.models["transformer"]
    else:
        sizes = {**SIZES, "layout": case.layout, "depth": 1}
        kind = lk.models["bert"]
    pooling = {"pooling": case.pooling} if case.pooling else {}
    if case.tokenizer != "loaded":
        return kind(**sizes, **pooling)
    own = LOADED[case.layout]()
    (folder / "start").mkdir()
    own.save(str(folder / "start" / "tokenizer.json"))
    config = kind(**sizes, vocab_size=own.get_vocab_size())
    config.save(config.build(nnx.Rngs(0)), folder / "start")
    return kind(weights=str(folder / "start"), **pooling)


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter, f32, drawn by its name: scales around 1, tables and kernels wide enough to tell texts apart."""
    random = np.random.default_rng(
        zlib.crc32(name.replace("backbone/", "trunk/").encode())
    )  # as when they were kept
    values = random.standard_normal(shape)
    return (1 + 0.2 * values if name.endswith("scale") else 0.6 * values).astype(np.float32)


def export(case: Case, folder: Path) -> tuple[Run, Path]:
    """The run of a case with drawn parameters, and the folder that it exports."""
    data, how = rows_of(case)
    options: dict[str, Any] = {"task": case.task, "max_length": LENGTH, "batch_size": 8, "buckets": 1}
    if case.tokenizer != "loaded":
        options |= {"tokenizer": case.tokenizer, "vocabulary": {"wordpiece": 100, "bpe": 290}[case.tokenizer]}
    if case.task == "pretrain":
        options["next_sentence"] = case.layout == "bert"
    if case.task == "qa":
        options |= {"stride": 2, "max_length": 32}
    rows, experiment = experiment_of(lk.load(data, **how), model_of(case, folder), True, options, case.name)
    run = Run.create(Store(folder / "lab"), experiment, rows)
    plan = prepare(experiment, run.info.folder, lambda text: None)
    params = {name: drawn(name, leaf.shape) for name, leaf in plan.steps.shapes.items()}
    save_model(plan, params, run.info.folder / "model")
    return run, run.export(folder / "out")


def ours(case: Case, run: Run) -> dict[str, list[Any]]:
    """What labkit answers: numbers, and texts."""
    if case.task == "embed":
        return {"numbers": run.embed(TEXTS).tolist(), "texts": []}
    if case.task == "lm":
        return {"numbers": [], "texts": run.generate(PROMPTS, max_new_tokens=8)}
    if case.task == "seq2seq":
        return {"numbers": [], "texts": run.translate(TEXTS, max_new_tokens=8)}
    if case.task == "qa":
        found = run.answer(QUESTIONS, PARAGRAPHS)
        return {"numbers": [[one.score] for one in found], "texts": [one.text for one in found]}
    if case.task == "pretrain":
        guesses = [each for text in MASKED for each in run.fill(text, top=3)]
        follows = (
            [[run.follows(*pair)] for pair in zip(TEXTS, PAIRS, strict=True)] if case.layout == "bert" else []
        )
        return {
            "numbers": [[guess.probability for guess in each] for each in guesses] + follows,
            "texts": [guess.token for each in guesses for guess in each],
        }
    found = run.predictor.probabilities(TEXTS, PAIRS if case.pairs else None)
    names = [] if case.task == "regress" else [one.label for one in map(run.predictor.told, found)]
    return {"numbers": found.tolist(), "texts": names}


# Tokenizers as the checkpoints of each layout have them, over a few words.
@cache
def _pieces() -> list[str]:
    letters = sorted(
        {letter for word in (*WORDS, *TEXTS, *PAIRS) for letter in word.lower() if letter.isalnum()}
    )
    return [*letters, *(word for word in WORDS if len(word) > 1)]


def wordpiece(lowercase: bool) -> tokenizers.Tokenizer:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [
        *_pieces(),
        "PLOT",
        "Not",
        ",",
        ".",
        "!",
        *(f"##{piece}" for piece in _pieces() if len(piece) == 1),
    ]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys([*special, *pieces]))}
    made = tokenizers.Tokenizer(kinds.WordPiece(vocab, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer, made.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    made.add_special_tokens(special)
    pair = "[CLS] $A [SEP] $B:1 [SEP]:1"
    ends = [(name, vocab[name]) for name in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=pair, special_tokens=ends
    )
    return made


def byte_pairs(special: list[str], post: Any = None) -> tokenizers.Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [
        ("g", "o"),
        ("o", "d"),
        ("go", "od"),
        ("f", "i"),
        ("fi", "l"),
        ("fil", "m"),
        ("Ġ", "film"),
        ("t", "h"),
    ]
    pieces = [*special, *alphabet, *(a + b for a, b in merges)]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    made = tokenizers.Tokenizer(kinds.BPE(vocab, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder, made.post_processor = decoders.ByteLevel(), post
    made.add_special_tokens(
        [tokenizers.AddedToken(name, lstrip=name == "<mask>", special=True) for name in special]
    )
    return made


def unigram(special: list[str], single: str, pair: str) -> tokenizers.Tokenizer:
    pieces = [("▁", -3.0), *((piece, -4.0) for piece in _pieces()), *((f"▁{word}", -2.0) for word in WORDS)]
    vocab = [(name, 0.0) for name in special] + pieces
    made = tokenizers.Tokenizer(kinds.Unigram(vocab, unk_id=special.index("<unk>")))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made.add_special_tokens(special)
    used = [(name, special.index(name)) for name in special if name in single]
    made.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=used)
    return made


ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
LOADED = {
    "bert": lambda: wordpiece(lowercase=False),
    "distilbert": lambda: wordpiece(lowercase=True),
    "roberta": lambda: byte_pairs(
        ROBERTA, processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    ),
    "xlm-roberta": lambda: unigram(ROBERTA, "<s> $A </s>", "<s> $A </s> </s> $B </s>"),
    "gpt2": lambda: byte_pairs(["<|endoftext|>"]),
    "llama": lambda: unigram(["<unk>", "<s>", "</s>"], "<s> $A", "<s> $A <s> $B:1"),
    "marian": lambda: unigram(["<pad>", "</s>", "<unk>"], "$A </s>", "$A </s> $B </s>"),
    "pegasus": lambda: unigram(["<pad>", "</s>", "<unk>"], "$A </s>", "$A </s> $B </s>"),
}
