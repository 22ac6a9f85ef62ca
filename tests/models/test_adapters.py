"""PEFT adapters: those that ``peft`` wrote (``golden/make.py``) give its logits, and those of labkit's runs are read
back. That ``peft`` reads these: ``tests/peers/test_adapters.py``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

import labkit as lk
from labkit.core.errors import WeightsError
from labkit.hub import adapters
from labkit.models import weights
from labkit.models.bert.model import BertConfig
from labkit.models.gpt.model import GptConfig
from labkit.models.modernbert import ModernBertConfig

from ..data.vocabularies import gpt2
from .golden.make import KEPT
from .test_golden import answers, assert_close, opened


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))


def test_an_adapter_of_a_decoder_gives_the_logits_of_peft() -> None:
    config, kept = GptConfig(weights=str(KEPT / "adapter-qwen2")), answers("adapter-qwen2")
    model = opened(config)
    assert config.family == "qwen2"
    assert_close(
        model.logits(model(kept["ids"], kept["real"]).hidden), kept["logits"], np.asarray(kept["real"])
    )
    base = opened(GptConfig(weights=str(KEPT / "qwen2")))
    assert not np.allclose(base.logits(base(kept["ids"], kept["real"]).hidden), kept["logits"], atol=0.1)


def test_an_adapter_with_a_head_is_a_classifier() -> None:
    name, kept = str(KEPT / "adapter-bert"), answers("adapter-bert")
    config = BertConfig(weights=name)
    kernel, bias = config.load_classifier(weights.find(name))
    assert_close(opened(config)(kept["ids"], kept["real"]).pooled @ kernel + bias, kept["logits"])
    predictor = lk.Predictor(name)
    assert predictor.classes == ("LABEL_0", "LABEL_1", "LABEL_2")


def changed(folder: Path, **settings: Any) -> Path:
    shutil.copytree(KEPT / "adapter-qwen2", folder / "adapter")
    path = folder / "adapter" / "adapter_config.json"
    base = {"base_model_name_or_path": str(KEPT / "qwen2")}
    path.write_text(json.dumps({**json.loads(path.read_text()), **base, **settings}))
    return folder / "adapter"


@pytest.mark.parametrize(("settings", "message"), (
    ({"peft_type": "IA3"}, "peft_type = 'IA3'; supported: 'LORA'"),
    ({"use_dora": True}, "use_dora = True"),
    ({"bias": "all"}, "bias = 'all'; supported: 'none'"),
    ({"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa'"),
    ({"lora_alpha": "8"}, "lora_alpha = 8; expected numbers"),
    ({"base_model_name_or_path": None}, "names no base model"),
    ({"base_model_name_or_path": "org/name"}, "needs a revision"),
    ({"base_model_name_or_path": str(KEPT / "qwen3")}, r"adds \[16, 16\] to .*q_proj.weight, .*shape \[24, 16\]"),
    ({"base_model_name_or_path": str(KEPT / "bert-masked")}, "which its base model does not have"),
))  # fmt: skip
def test_what_is_no_plain_lora_is_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=message):
        weights.find(str(changed(tmp_path, **settings)))


def test_an_adapter_with_other_files_is_refused(tmp_path: Path) -> None:
    folder = changed(tmp_path)
    (folder / adapters.FILE).rename(folder / "adapter_model.bin")
    with pytest.raises(WeightsError, match=r"has no adapter_model.safetensors; it has: .*adapter_model.bin"):
        weights.find(str(folder))


def test_the_sum_is_made_anew_when_the_base_model_changes(tmp_path: Path) -> None:
    shutil.copytree(KEPT / "qwen2", tmp_path / "base")
    folder = changed(tmp_path, base_model_name_or_path="../base")
    first = weights.find(str(folder))
    assert weights.find(str(folder)) == first
    tensors = dict(weights.Tensors(KEPT / "qwen2"))
    weights.write_tensors(tmp_path / "base", {name: 2 * value for name, value in tensors.items()})
    again = weights.find(str(folder))
    assert again != first and not np.array_equal(
        weights.Tensors(again)["model.norm.weight"], weights.Tensors(first)["model.norm.weight"]
    )


SIZES: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2, "mlp_width": 24, "max_length": 48}
BASES = {
    "gpt2": GptConfig(**SIZES, family="gpt2"),  # whose query, key and value are one matrix, stored [in, out]
    "qwen3": GptConfig(**SIZES, family="qwen3"),
    "bert": BertConfig(**SIZES, layout="bert"),
    "modernbert": ModernBertConfig(**SIZES),
}


def trained(name: str, folder: Path, **settings: Any) -> tuple[Any, Path]:
    """A LoRA run on a base model of random weights, and the folder of the base model."""
    base, spell = folder / "base", gpt2()
    config = BASES[name].replace(vocab_size=spell.get_vocab_size())
    config.save(config.build(nnx.Rngs(0)), base)
    spell.save(str(base / "tokenizer.json"))
    rows = [
        {"text": f"the {('film', 'plot')[place % 2]} {place}", "label": "ab"[place % 2]}
        for place in range(40)
    ]
    run = lk.fit(
        rows, type(config)(weights=str(base)), folder=folder / "lab", background=False, epochs=1, batch_size=8,
        trainable="lora", lora_rank=2, lora_alpha=8.0, learning_rate=0.02, keep="last", max_length=32, buckets=1,
        **settings,
    )  # fmt: skip
    return run, base


@pytest.mark.parametrize("name", BASES)
def test_the_adapter_of_a_run_gives_its_model(name: str, tmp_path: Path) -> None:
    run, base = trained(name, tmp_path)
    folder = run.export(tmp_path / "out")
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["task_type"]) == (str(base), "SEQ_CLS")
    found, wanted = weights.Tensors(weights.find(str(folder / "adapter"))), weights.Tensors(folder)
    table = run.experiment.model.table(folder)
    assert {table.canonical(each) for each in wanted} <= {table.canonical(each) for each in found}
    own = {table.canonical(each): found[each] for each in found}
    for each in wanted:
        np.testing.assert_allclose(own[table.canonical(each)], wanted[each], atol=1e-6, err_msg=each)
    small = (folder / "adapter" / adapters.FILE).stat().st_size
    assert small < (folder / "model.safetensors").stat().st_size / 2
