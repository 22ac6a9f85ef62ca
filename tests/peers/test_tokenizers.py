"""``transformers`` makes the ids of labkit from an exported folder, and labkit theirs from their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

import labkit as lk
from labkit.data.text.tokenizer import Tokenizer
from labkit.models.gpt.model import GptConfig
from labkit.models.seq2seq.model import TransformerConfig

from ..data.vocabularies import CORPUS, MADE, TEXTS, byte_level
from ..inference.test_ends import loud

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("default"),
]  # warnings of torch are its own business

#: Model types that labkit writes, and some that others give its folders.
TYPES = ("bert", "roberta", "xlm-roberta", "distilbert", "gpt2", "llama", "marian", "pegasus", "bart")


@pytest.fixture(scope="module")
def theirs() -> Any:
    pytest.importorskip("torch")
    return pytest.importorskip("transformers")


def rows(tokens: Any, what: str = "ids") -> list[list[int]]:
    return [part.tolist() for part in np.split(getattr(tokens, what), tokens.offsets[1:-1])]


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("model_type", TYPES)
def test_an_exported_tokenizer_there(kind: str, model_type: str, theirs: Any, tmp_path: Path) -> None:
    tokenizer = MADE[kind]()
    tokenizer.export(tmp_path, 24)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    peer = theirs.AutoTokenizer.from_pretrained(tmp_path)
    # A piece of Unigram may spell a special token, which only labkit takes for unknown then.
    texts = [text for text in TEXTS if "</s>" not in text]
    assert peer.model_max_length == 24
    assert peer(texts, truncation=True).input_ids == rows(tokenizer.encode(texts, max_length=24))
    two = tokenizer.encode(texts, texts[::-1], 400)
    seen = peer(texts, texts[::-1], truncation=True, max_length=400)
    assert seen.input_ids == rows(two) and seen.token_type_ids == rows(two, "types")
    assert (peer.pad_token_id, peer.eos_token_id) == (tokenizer.pad_id, tokenizer.end_id)
    padded = peer(texts, padding=True)
    assert [sum(mask) for mask in padded.attention_mask] == tokenizer.encode(
        texts, max_length=4096
    ).lengths.tolist()


@pytest.mark.parametrize("kind", MADE)
def test_prompts_there(kind: str, theirs: Any, tmp_path: Path) -> None:
    tokenizer = MADE[kind]()
    tokenizer.export(tmp_path, 24, types=False, prompts=True)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    peer = theirs.AutoTokenizer.from_pretrained(tmp_path)
    texts = [text for text in TEXTS if "</s>" not in text]
    assert peer(texts).input_ids == [tokenizer.prompt(text).tolist() for text in texts]
    assert list(peer("film")) == ["input_ids", "attention_mask"] and peer.padding_side == "left"


@pytest.mark.parametrize("kind", ("learnt WordPiece", "learnt BPE", "RoBERTa", "XLM-RoBERTa"))
def test_masks_there(kind: str, theirs: Any, tmp_path: Path) -> None:
    tokenizer = MADE[kind]()
    tokenizer.export(tmp_path, 24, read_special=True)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    peer = theirs.AutoTokenizer.from_pretrained(tmp_path)
    for text in ("the {} was dull", "{} film", "film {} {}", "电影{}好"):
        own = tokenizer.row(tokenizer.masked(text.replace("{}", "[MASK]")))[0]
        assert peer(text.replace("{}", peer.mask_token)).input_ids == own.tolist()


@pytest.mark.parametrize("kind", ("RobertaTokenizer", "GPT2Tokenizer", "BertTokenizer"))
def test_their_vocabulary_files_here(kind: str, theirs: Any, tmp_path: Path) -> None:
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if kind == "RobertaTokenizer" else ["<|endoftext|>"]
    if kind == "BertTokenizer":
        words = Tokenizer.train(CORPUS, vocab_size=300, lowercase=False)
        (tmp_path / "vocab.txt").write_text("\n".join(words.names(range(words.vocab_size))), encoding="utf-8")
        (tmp_path / "tokenizer_config.json").write_text(
            json.dumps({"do_lower_case": False, "tokenizer_class": kind})
        )
    else:
        byte_level(special).model.save(str(tmp_path))
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind.removesuffix("Tokenizer").lower()}))
    peer, own = theirs.AutoTokenizer.from_pretrained(tmp_path), Tokenizer.load(tmp_path)
    assert type(peer).__name__ == kind
    texts = [text for text in TEXTS if not {"<", "["} & set(text)]
    if kind == "GPT2Tokenizer":  # which adds nothing to a text
        assert peer(texts).input_ids == [own.prompt(text).tolist() for text in texts]
        return
    assert peer(texts).input_ids == rows(own.encode(texts))
    assert peer(texts, texts[::-1]).input_ids == rows(own.encode(texts, texts[::-1]))


@pytest.mark.parametrize("ends", (1, [1, 3], None))
def test_texts_end_where_theirs_end(ends: Any, theirs: Any, tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    rust = byte_level(["<|endoftext|>", "<|im_end|>"])
    rust.save(str(tmp_path / "tokenizer.json"))
    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64}
    config = theirs.GPT2Config(vocab_size=rust.get_vocab_size(), **sizes, bos_token_id=0, eos_token_id=0)
    model = theirs.GPT2LMHeadModel(config)
    with torch.no_grad():  # far from uniform, so that texts differ and end
        for parameter in model.parameters():
            parameter.mul_(12)
    model.save_pretrained(tmp_path)
    said = json.loads((tmp_path / "generation_config.json").read_text())
    likely = model.generate(torch.tensor([[40]]), max_new_tokens=5, do_sample=False, eos_token_id=None)[
        0, 1:
    ].tolist()
    if ends is None:
        (tmp_path / "generation_config.json").unlink()
        (tmp_path / "config.json").write_text(json.dumps({**config.to_dict(), "eos_token_id": likely[2]}))
    else:
        ends = ends if isinstance(ends, int) else [ends[0], likely[1]]
        (tmp_path / "generation_config.json").write_text(json.dumps({**said, "eos_token_id": ends}))
    peer = theirs.AutoModelForCausalLM.from_pretrained(tmp_path)
    spell = theirs.AutoTokenizer.from_pretrained(tmp_path)
    generator = lk.TextGenerationPipeline(str(tmp_path))
    lengths = set()
    for prompt in (spell.decode([40]), "the film", "电影", "a"):
        ids = spell(prompt, return_tensors="pt").input_ids
        made = peer.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
        lengths.add(len(made))
        assert generator.generate(prompt, max_new_tokens=8) == spell.decode(made, skip_special_tokens=True)
    assert ends == 1 or min(lengths) < 8


@pytest.mark.parametrize("said", (
    {"decoder_start_token_id": 1, "eos_token_id": 2, "pad_token_id": 1},
    {"decoder_start_token_id": 0, "eos_token_id": [2, 40], "pad_token_id": 1},
    {"decoder_start_token_id": 1, "eos_token_id": 2, "pad_token_id": 1, "forced_bos_token_id": 40},
    {"decoder_start_token_id": 1, "eos_token_id": 2, "pad_token_id": 1, "forced_eos_token_id": 2},
))  # fmt: skip
@pytest.mark.parametrize("form", ("marian", "pegasus"))
def test_target_texts_there(form: str, said: dict[str, Any], theirs: Any, tmp_path: Path) -> None:
    from labkit.inference.translation import TranslationPipeline

    tokenizer = MADE["Marian"]()
    sizes = {
        "width": 32,
        "encoder_depth": 1,
        "decoder_depth": 1,
        "heads": 2,
        "mlp_width": 64,
        "max_length": 32,
    }
    config = TransformerConfig(vocab_size=tokenizer.vocab_size, norm_first=form == "pegasus", **sizes)
    config.save(loud(config.build(nnx.Rngs(1))), tmp_path, **said)
    tokenizer.export(tmp_path, 32, types=False)
    spell = theirs.AutoTokenizer.from_pretrained(tmp_path)
    peer = theirs.AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    own = TranslationPipeline(str(tmp_path))
    for text in ("the film was dull", "电影不好看", "a"):
        made = peer.generate(
            **spell(text, return_tensors="pt"), max_new_tokens=7, do_sample=False, num_beams=1
        )[0]
        expected = spell.decode(made[1:], skip_special_tokens=True)
        assert own.translate(text, max_new_tokens=7) == expected


def test_prompts_with_a_start_token_there(theirs: Any, tmp_path: Path) -> None:
    tokenizer = MADE["Llama 3"]()
    sizes = {"width": 32, "depth": 1, "heads": 2, "mlp_width": 64, "max_length": 48}
    config = GptConfig(vocab_size=tokenizer.vocab_size, family="llama", **sizes)
    config.save(
        loud(config.build(nnx.Rngs(0))), tmp_path, eos_token_id=[1, 2], bos_token_id=0, pad_token_id=1
    )
    tokenizer.export(tmp_path, 48, types=False, prompts=True)
    spell = theirs.AutoTokenizer.from_pretrained(tmp_path)
    peer, own = (
        theirs.AutoModelForCausalLM.from_pretrained(tmp_path),
        lk.TextGenerationPipeline(str(tmp_path)),
    )
    texts = ["the film was", "电影", "a"]
    batch = spell(texts, return_tensors="pt", padding=True)
    made = peer.generate(**batch, max_new_tokens=8, do_sample=False)[:, batch.input_ids.shape[1] :]
    assert own.generate(texts, max_new_tokens=8) == spell.batch_decode(made, skip_special_tokens=True)


def test_conversations_there(theirs: Any, tmp_path: Path) -> None:
    from labkit.data.text import chat

    from ..inference.test_chat import CHATML, TALK, folder_with

    peer = theirs.AutoTokenizer.from_pretrained(folder_with(CHATML, tmp_path))
    own = Tokenizer.load(tmp_path)
    for prompt in (True, False):
        assert chat.render(own, [TALK], prompt) == [
            peer.apply_chat_template(TALK, tokenize=False, add_generation_prompt=prompt)
        ]
    plain = [{**each, "content": each["content"].replace("<|im_end|>", "it")} for each in TALK]
    found = peer.apply_chat_template(plain, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert chat.ids(own, plain).tolist() == found
