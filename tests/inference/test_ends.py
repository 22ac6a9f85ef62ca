"""Texts begin and end with the tokens that a folder's files name, in the generator and in the translator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

import labkit as lk
from labkit.core.errors import WeightsError
from labkit.models.gpt.model import GptConfig
from labkit.models.seq2seq.model import TransformerConfig

from ..data.vocabularies import byte_level, unigram

PLAIN = "<|endoftext|>"


def loud(module: Any) -> Any:
    """The module with larger weights, so that texts differ and change."""
    nnx.update(module, jax.tree.map(lambda parameter: parameter * 12, nnx.state(module)))
    return module


@pytest.fixture
def decoder(tmp_path: Path) -> tuple[Path, Any]:
    rust = byte_level([PLAIN, "<|im_start|>", "<|im_end|>"])
    rust.save(str(tmp_path / "tokenizer.json"))
    config = GptConfig(
        vocab_size=rust.get_vocab_size(), width=32, depth=1, heads=2, mlp_width=64, max_length=48
    )
    config.save(loud(config.build(nnx.Rngs(0))), tmp_path)
    return tmp_path, rust


def written(folder: Path, prompt: str, count: int = 8, **files: Any) -> str:
    for name, content in files.items():
        path = folder / f"{name}.json"
        before = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**before, **content}))
    return lk.TextGenerationPipeline(str(folder)).generate(prompt, max_new_tokens=count)


def test_a_text_ends_at_each_token_that_the_files_name(decoder: tuple[Path, Any]) -> None:
    folder, rust = decoder
    whole = written(folder, "the film")
    ids = rust.encode(whole, add_special_tokens=False).ids
    assert len(set(ids[:4])) == 4, "a text whose tokens can be told from each other"
    text = lambda count: rust.decode(ids[:count])  # noqa: E731
    assert written(folder, "the film", config={"eos_token_id": ids[3]}) == text(4)
    assert written(folder, "the film", generation_config={"eos_token_id": [0, ids[2], ids[1]]}) == text(2)
    assert written(folder, "the film", generation_config={"eos_token_id": ids[2]}) == text(3)
    # a token that the tokenizer calls special ends the text and is no part of it
    names = {"eos_token": "<|im_end|>"}
    assert written(
        folder, "the film", tokenizer_config=names, generation_config={"eos_token_id": None}
    ) == text(4)


def test_a_start_token_of_the_file_comes_before_prompts(decoder: tuple[Path, Any]) -> None:
    folder, rust = decoder
    from tokenizers import processors

    plain = written(folder, "the film")
    rust.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", pair="<|im_start|> $A $B", special_tokens=[("<|im_start|>", 1)]
    )
    rust.save(str(folder / "tokenizer.json"))
    generator = lk.TextGenerationPipeline(str(folder))
    assert generator.ids_of("the film").tolist() == rust.encode("the film").ids
    assert generator.generate("the film", max_new_tokens=8) != plain


def test_weights_that_are_missing_are_named(decoder: tuple[Path, Any], tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    config = GptConfig(vocab_size=60, width=32, depth=1, heads=2, max_length=48, family="llama", tied=False)
    config.save(config.build(nnx.Rngs(0)), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors.pop("lm_head.weight")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"lm_head|output"):
        lk.TextGenerationPipeline(str(tmp_path))


def test_a_translator_of_others_begins_and_ends_as_its_files_say(tmp_path: Path) -> None:
    from labkit.inference.translation import TranslationPipeline

    rust = unigram("$A </s>", "$A $B </s>")  # <s> 0, <pad> 1, </s> 2
    rust.save(str(tmp_path / "tokenizer.json"))
    size = rust.get_vocab_size()
    config = TransformerConfig(
        vocab_size=size, width=32, encoder_depth=1, decoder_depth=1, heads=2, mlp_width=64, max_length=24
    )
    module = loud(config.build(nnx.Rngs(1)))
    read = nnx.jit(lambda *batch: module.logits(module(*batch).hidden))

    def greedy(source: list[int], begin: list[int], ends: list[int], count: int) -> list[int]:
        made = list(begin)
        while len(made) < count + 1 and made[-1] not in ends:
            padded = np.zeros((1, count + 1), np.int32)
            padded[0, : len(made)] = made
            seen = np.arange(count + 1)[None] < len(made)
            ids = np.array([source], np.int32)
            made.append(int(read(ids, ids >= 0, padded, seen)[0, len(made) - 1].argmax()))
        return made[1:]

    source = rust.encode("the film was dull").ids
    free = greedy(source, [1], [], 6)
    for said, begin, ends in (
        ({"decoder_start_token_id": 1, "eos_token_id": 2}, [1], [2]),
        ({"decoder_start_token_id": 0, "eos_token_id": [2, free[3]]}, [0], [2, free[3]]),
        ({"decoder_start_token_id": 1, "eos_token_id": 2, "forced_bos_token_id": 7}, [1, 7], [2]),
    ):
        config.save(module, tmp_path, **said)
        expected = rust.decode(greedy(source, begin, ends, 6))
        assert TranslationPipeline(str(tmp_path)).translate("the film was dull", max_new_tokens=6) == expected
    # the last place is the end token's, whatever the model would write there
    config.save(module, tmp_path, decoder_start_token_id=1, eos_token_id=2, forced_eos_token_id=2)
    assert TranslationPipeline(tmp_path).translate("the film was dull", max_new_tokens=6) == rust.decode(
        free[:5]
    )
