"""Folders of sentence-transformers: vectors as their modules say, and what labkit has not refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

import labkit as lk
from labkit.core.errors import ConfigError, WeightsError
from labkit.models.bert.model import BertConfig

WIDTH, TEXTS = 32, ["a good film", "a bad film , and a long one"]


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    """A folder of a BERT with its tokenizer, and the hidden states [t, d] of every text, spelt out by themselves."""
    folder = tmp_path_factory.mktemp("bert")
    tokenizer = lk.Tokenizer.train([*TEXTS, "query: "] * 9, vocab_size=60)
    tokenizer.save(folder)
    config = BertConfig(preset="tiny", vocab_size=60, width=WIDTH, depth=1, heads=2, max_length=32)
    model = config.build(nnx.Rngs(0))
    config.save(model, folder)
    hidden = {}
    for text in [*TEXTS, *(f"query: {text}" for text in TEXTS), *(text.upper() for text in TEXTS)]:
        ids = jnp.asarray(tokenizer.encode([text], max_length=32).ids[None])
        hidden[text] = np.asarray(model(ids, ids >= 0).hidden[0])
    return folder, hidden


def copy(folder: Path, target: Path, parts: list[tuple[str, str]], encoder: str = "") -> Path:
    (target / encoder).mkdir(parents=True)
    for file in folder.iterdir():
        (target / encoder / file.name).write_bytes(file.read_bytes())
    listed = [("Transformer", encoder), *parts]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(listed)
    ]
    (target / "modules.json").write_text(json.dumps(modules))
    for _, path in parts:
        (target / path).mkdir(exist_ok=True)
    return target


def written(folder: Path, name: str, content: dict[str, Any]) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def cosine(folder: Path, expected: Any, hidden: dict[str, np.ndarray], **more: Any) -> list[float]:
    vectors = lk.EmbeddingPipeline(str(folder)).embed(TEXTS, **more)
    right = [np.asarray(expected(hidden[text])) for text in TEXTS]
    return [float(one @ two / np.linalg.norm(two)) for one, two in zip(vectors, right, strict=True)]


POOLED = {
    "cls": lambda h: h[0],
    "max": lambda h: h.max(0),
    "mean": lambda h: h.mean(0),
    "mean_sqrt_len_tokens": lambda h: h.mean(0),  # another length, the same direction
    "weightedmean": lambda h: np.average(h, 0, weights=np.arange(1, len(h) + 1)),
    "lasttoken": lambda h: h[-1],
}
SWITCH = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens", "lasttoken": "lasttoken",
          "mean_sqrt_len_tokens": "mean_sqrt_len_tokens", "weightedmean": "weightedmean_tokens"}  # fmt: skip


@pytest.mark.parametrize("mode", POOLED)
def test_vectors_are_pooled_as_either_spelling_says(mode: str, start: Any, tmp_path: Path) -> None:
    folder, hidden = start
    old = {f"pooling_mode_{switch}": name == mode for name, switch in SWITCH.items()}
    for number, said in enumerate(
        (old, {"embedding_dimension": WIDTH, "pooling_mode": mode, "include_prompt": True})
    ):
        place = copy(folder, tmp_path / str(number), [("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")])
        written(place, "1_Pooling/config.json", said)
        assert cosine(place, POOLED[mode], hidden) == pytest.approx([1, 1], abs=1e-5)


def test_several_poolings_are_concatenated_and_a_folder_with_pooling_alone_is_read(
    start: Any, tmp_path: Path
) -> None:
    folder, hidden = start
    place = copy(folder, tmp_path / "two", [("Pooling", "1_Pooling")])
    written(place, "1_Pooling/config.json", {"pooling_mode_max_tokens": True, "pooling_mode_cls_token": True})
    both = lambda h: np.concatenate([h[0], h.max(0)])  # noqa: E731
    assert lk.EmbeddingPipeline(str(place)).width == 2 * WIDTH
    assert cosine(place, both, hidden) == pytest.approx([1, 1], abs=1e-5)
    (place / "modules.json").unlink()
    assert cosine(place, both, hidden) == pytest.approx([1, 1], abs=1e-5)
    (place / "1_Pooling" / "config.json").unlink()
    assert cosine(place, POOLED["mean"], hidden) == pytest.approx([1, 1], abs=1e-5)


def test_layers_behind_the_pooling_are_applied_in_their_order(start: Any, tmp_path: Path) -> None:
    folder, hidden = start
    random = np.random.default_rng(0)
    kernel, bias = random.normal(size=(8, WIDTH)).astype("f4"), random.normal(size=8).astype("f4")
    parts = [
        ("Pooling", "1_Pooling"),
        ("Normalize", "2_Normalize"),
        ("Dense", "3_Dense"),
        ("Dropout", "4_Dropout"),
    ]
    place = copy(folder, tmp_path / "st", parts, encoder="0_Transformer")
    written(place, "1_Pooling/config.json", {"pooling_mode": "mean"})
    said = {"in_features": WIDTH, "out_features": 8, "bias": True}
    written(place, "3_Dense/config.json", said)
    save_file({"linear.weight": kernel, "linear.bias": bias}, place / "3_Dense" / "model.safetensors")
    unit = lambda v: v / np.linalg.norm(v)  # noqa: E731
    assert lk.EmbeddingPipeline(str(place)).width == 8
    tanh = lambda h: np.tanh(kernel @ unit(h.mean(0)) + bias)  # noqa: E731 (the usual activation)
    assert cosine(place, tanh, hidden) == pytest.approx([1, 1], abs=1e-5)
    written(place, "3_Dense/config.json", said | {"activation_function": "torch.nn.modules.linear.Identity"})
    assert cosine(place, lambda h: kernel @ unit(h.mean(0)) + bias, hidden) == pytest.approx([1, 1], abs=1e-5)
    written(place, "3_Dense/config.json", said | {"activation_function": "my.Swish"})
    with pytest.raises(WeightsError, match=r"activation_function = 'my.Swish'; supported: Identity, Tanh"):
        lk.EmbeddingPipeline(str(place))
    written(place, "3_Dense/config.json", said | {"out_features": 9})
    with pytest.raises(
        WeightsError, match=r"linear\.weight has the shape \(8, 32\); config\.json states \(9, 32\)"
    ):
        lk.EmbeddingPipeline(str(place))


def test_prompts_length_and_case_are_those_of_the_folder(start: Any, tmp_path: Path) -> None:
    folder, hidden = start
    place = copy(folder, tmp_path / "st", [("Pooling", "1_Pooling")])
    written(place, "1_Pooling/config.json", {"pooling_mode": "mean"})
    settings = {"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": "query"}
    written(place, "config_sentence_transformers.json", settings)
    asked = {text: hidden[f"query: {text}"] for text in TEXTS}
    assert cosine(place, POOLED["mean"], asked) == pytest.approx([1, 1], abs=1e-5)
    assert cosine(place, POOLED["mean"], hidden, prompt="document") == pytest.approx([1, 1], abs=1e-5)
    assert cosine(place, POOLED["mean"], hidden, prompt="") == pytest.approx([1, 1], abs=1e-5)
    model = lk.EmbeddingPipeline(str(place))
    assert dict(model.prompts) == settings["prompts"]
    with pytest.raises(
        ConfigError, match=r"unknown prompt 'querry'. Did you mean 'query'\?.*has: query, document"
    ):
        model.embed(TEXTS, prompt="querry")
    written(place, "1_Pooling/config.json", {"pooling_mode": "mean", "include_prompt": False})
    with pytest.raises(ConfigError, match=r"include_prompt = false.*without the prompt 'query'"):
        lk.EmbeddingPipeline(str(place)).embed(TEXTS)
    written(place, "config_sentence_transformers.json", {})
    written(place, "sentence_bert_config.json", {"max_seq_length": 4})
    short = lk.EmbeddingPipeline(str(place)).embed(["a good", "a good film and more"])
    assert short[0] @ short[1] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([("LSTM", "1_LSTM"), ("Pooling", "2_Pooling")], "the module 'sentence_transformers.models.LSTM'"),
        ([("Pooling", "../1_Pooling")], "lists '../1_Pooling', which is not a folder next to it"),
        ([("Dense", "1_Pooling")], "the module 'sentence_transformers.models.Dense'"),
        ([], "lists no Transformer followed by Pooling"),
    ],
)
def test_modules_that_labkit_has_not_are_refused(parts: list, said: str, start: Any, tmp_path: Path) -> None:
    place = copy(start[0], tmp_path / "st", parts)
    with pytest.raises(WeightsError, match=said):
        lk.EmbeddingPipeline(str(place))
    with pytest.raises(WeightsError, match=said):
        lk.models["bert"](weights=str(place))
