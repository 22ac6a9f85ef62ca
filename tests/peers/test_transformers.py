"""Folders are read by ``transformers`` (torch) and give the same numbers, and its folders are read here.

A job of its own: ``python -m pytest -m peers tests/peers``, where torch and transformers are installed (CONTRIBUTING).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import labkit as lk
from labkit.models import weights
from labkit.models.bert import heads as bert_heads
from labkit.models.bert.heads import PretrainingHeads
from labkit.models.bert.model import BertConfig
from labkit.models.gpt.model import GptConfig
from labkit.models.modernbert import ModernBertConfig
from labkit.models.seq2seq.model import TransformerConfig

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("default"),
]  # warnings of torch are its own business

SIZES = {"vocab_size": 60, "width": 32, "depth": 3, "heads": 4, "mlp_width": 48, "max_length": 24}
ENCODERS = {name: BertConfig(layout=name, **SIZES) for name in ("bert", "roberta", "distilbert")}
DECODERS = {
    "gpt2": GptConfig(**SIZES),
    "llama": GptConfig(**SIZES, family="llama", kv_heads=2),
    "llama, untied": GptConfig(**SIZES, family="llama", kv_heads=1, tied=False, rope_base=500.0),
    "llama 3": GptConfig(
        **SIZES, family="llama", kv_heads=2, rope_scaling=(8.0, 1.0, 4.0, 16.0), rope_base=200.0
    ),
    "linear": GptConfig(**SIZES, family="llama", head_dim=6, rope_scaling=(2.5,)),
    "qwen2": GptConfig(**SIZES, family="qwen2", kv_heads=2),
    "qwen3": GptConfig(**SIZES, family="qwen3", kv_heads=2, head_dim=12, tied=False),
}
_TWO = {
    **{name: value for name, value in SIZES.items() if name != "depth"},
    "encoder_depth": 3,
    "decoder_depth": 2,
}
SEQ2SEQ = {
    "marian": TransformerConfig(**_TWO, activation="swish", output_bias=True),
    "pegasus": TransformerConfig(**_TWO, norm_first=True, activation="gelu_tanh"),
}
IDS = np.random.default_rng(0).integers(5, 60, (3, 11))
REAL = np.arange(11) < np.array([[11], [4], [8]])
AIM, AIM_REAL = IDS[:, :7], REAL[:, :7]


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def theirs() -> Any:
    return pytest.importorskip("transformers")


def noisy(module: Any, seed: int = 0) -> Any:
    """A module whose every parameter, norms and biases too, is away from its initial value."""
    keys = iter(jax.random.split(jax.random.key(seed), 200))
    nnx.update(
        module, jax.tree.map(lambda p: p + 0.1 * jax.random.normal(next(keys), p.shape), nnx.state(module))
    )
    return module


def equal(ours: Any, peers: Any, real: Any = slice(None), what: str = "") -> None:
    """Within 1e-4 of the greatest number; the difference is printed."""
    ours, peers = np.asarray(ours)[real], peers.detach().numpy()[real]
    off, size = np.abs(ours - peers).max(), np.abs(peers).max()
    print(f"{what}: greatest difference {off:.1e} at numbers up to {size:.1f}")
    assert ours.shape == peers.shape and size > 0.05 and off <= 1e-4 * max(size, 1)


def asked(torch: Any, **arrays: np.ndarray) -> dict[str, Any]:
    return {name: torch.from_numpy(array.astype(np.int64)) for name, array in arrays.items()}


def opened(kind: Any, folder: Path) -> Any:
    """A model of theirs from a folder, with nothing missing or left over in the file."""
    model, report = kind.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"], report
    return model.eval()


def loaded(config: Any) -> Any:
    model = config.build(nnx.Rngs(7))
    assert not config.load(model).missing
    return model


@pytest.mark.parametrize("layout", ENCODERS)
def test_an_encoder_there(layout: str, torch: Any, theirs: Any, tmp_path: Path) -> None:
    config = ENCODERS[layout]
    model = noisy(config.build(nnx.Rngs(0)))
    config.save(model, tmp_path)
    peer = theirs.AutoModel.from_pretrained(tmp_path).eval()
    out, seen = (
        peer(**asked(torch, input_ids=IDS, attention_mask=REAL)),
        model(jnp.asarray(IDS), jnp.asarray(REAL)),
    )
    equal(seen.hidden, out.last_hidden_state, REAL, f"{layout}, hidden states")
    if layout != "distilbert":  # which has no pooler
        equal(seen.pooled, out.pooler_output, what=f"{layout}, pooled")


@pytest.mark.parametrize("layout", ENCODERS)
def test_a_classifier_there(layout: str, torch: Any, theirs: Any, tmp_path: Path) -> None:
    config = ENCODERS[layout]
    model = noisy(config.build(nnx.Rngs(0)))
    random = np.random.default_rng(1)
    kernel, bias = random.normal(size=(32, 3)).astype("f4"), random.normal(size=3).astype("f4")
    tensors, name = config.head_tensors(kernel, bias)
    config.save(model, tmp_path, tensors, architectures=[name], id2label={str(i): "abc"[i] for i in range(3)})
    peer = opened(theirs.AutoModelForSequenceClassification, tmp_path)
    logits = peer(**asked(torch, input_ids=IDS, attention_mask=REAL)).logits
    equal(
        model(jnp.asarray(IDS), jnp.asarray(REAL)).pooled @ kernel + bias,
        logits,
        what=f"{layout}, classifier",
    )
    peer.save_pretrained(tmp_path / "back")
    back = BertConfig(weights=str(tmp_path / "back"))
    again, head = loaded(back), back.head_of(weights.Tensors(tmp_path / "back"))
    equal(
        again(jnp.asarray(IDS), jnp.asarray(REAL)).pooled @ head[0] + head[1],
        logits,
        what=f"{layout}, and back",
    )


@pytest.mark.parametrize("pooling", ("cls", "mean_head"))
def test_a_modernbert_there(pooling: str, torch: Any, theirs: Any, tmp_path: Path) -> None:
    config = ModernBertConfig(**SIZES, window=6, global_every=2, pooling=pooling, activation="gelu_tanh")
    model = noisy(config.build(nnx.Rngs(0)))
    random = np.random.default_rng(1)
    kernel, bias = random.normal(size=(32, 3)).astype("f4"), random.normal(size=3).astype("f4")
    names = {str(place): "abc"[place] for place in range(3)}
    config.save_classifier(model, tmp_path, kernel, bias, id2label=names)
    given, seen = asked(torch, input_ids=IDS, attention_mask=REAL), model(jnp.asarray(IDS), jnp.asarray(REAL))
    peer = opened(theirs.AutoModelForSequenceClassification, tmp_path)
    equal(seen.pooled @ kernel + bias, peer(**given).logits, what=f"ModernBERT, classifier on {pooling}")
    hidden = theirs.AutoModel.from_pretrained(tmp_path).eval()(**given).last_hidden_state
    equal(seen.hidden, hidden, REAL, "ModernBERT, hidden states")
    heads = noisy(PretrainingHeads(config, nnx.Rngs(1)), 1)
    plain = {path: value for path, value in weights.flatten(model).items() if path[0] != "pooler"}
    bert_heads.save(config, plain, heads, tmp_path / "masked")
    peer = opened(theirs.AutoModelForMaskedLM, tmp_path / "masked")
    equal(
        heads.mlm_logits(seen.hidden, model.embeddings.word.embedding[...]),
        peer(**given).logits,
        REAL,
        "masked words",
    )


@pytest.mark.parametrize("layout", ENCODERS)
def test_the_heads_of_pretraining_there(layout: str, torch: Any, theirs: Any, tmp_path: Path) -> None:
    config = ENCODERS[layout]
    model, heads = noisy(config.build(nnx.Rngs(0))), noisy(PretrainingHeads(config, nnx.Rngs(1)), 1)
    bert_heads.save(config, model, heads, tmp_path)
    peer = opened(
        theirs.AutoModelForPreTraining if layout == "bert" else theirs.AutoModelForMaskedLM, tmp_path
    )
    out, seen = (
        peer(**asked(torch, input_ids=IDS, attention_mask=REAL)),
        model(jnp.asarray(IDS), jnp.asarray(REAL)),
    )
    table = model.embeddings.word.embedding[...]
    scores = out.prediction_logits if layout == "bert" else out.logits
    equal(heads.mlm_logits(seen.hidden, table), scores, REAL, f"{layout}, masked words")
    if layout == "bert":
        equal(heads.nsp_logits(seen.pooled), out.seq_relationship_logits, what="bert, next sentence")


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_there(name: str, torch: Any, theirs: Any, tmp_path: Path) -> None:
    config = DECODERS[name]
    model = noisy(config.build(nnx.Rngs(0)))
    config.save(model, tmp_path)
    peer = opened(theirs.AutoModelForCausalLM, tmp_path)
    logits = peer(**asked(torch, input_ids=IDS, attention_mask=REAL)).logits
    equal(model.logits(model(jnp.asarray(IDS), jnp.asarray(REAL)).hidden), logits, REAL, f"{name}, logits")


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_an_encoder_and_decoder_there(name: str, torch: Any, theirs: Any, tmp_path: Path) -> None:
    config = SEQ2SEQ[name]
    model = noisy(config.build(nnx.Rngs(0)))
    config.save(model, tmp_path)
    peer = opened(theirs.AutoModelForSeq2SeqLM, tmp_path)
    given = asked(
        torch, input_ids=IDS, attention_mask=REAL, decoder_input_ids=AIM, decoder_attention_mask=AIM_REAL
    )
    seen = model(*map(jnp.asarray, (IDS, REAL, AIM, AIM_REAL)))
    equal(model.logits(seen.hidden), peer(**given).logits, AIM_REAL, f"{name}, logits")


THEIRS = {
    "bert": ("BertModel", {"type_vocab_size": 2}),
    "roberta": ("RobertaModel", {"type_vocab_size": 1, "pad_token_id": 1, "max_position_embeddings": 26}),
    "distilbert": ("DistilBertModel", {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48}),
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 24}),
    "llama": ("LlamaForCausalLM", {"num_key_value_heads": 2, "tie_word_embeddings": False}),
    "marian": (
        "MarianMTModel",
        {"d_model": 32, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 4, "pad_token_id": 0,
         "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "scale_embedding": True,
         "decoder_start_token_id": 0, "eos_token_id": 2, "forced_eos_token_id": None, "max_position_embeddings": 24},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", THEIRS)
def test_a_model_of_theirs_here(name: str, torch: Any, theirs: Any, tmp_path: Path) -> None:
    kind, more = THEIRS[name]
    usual = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
    usual |= {"vocab_size": 60, "max_position_embeddings": 24}
    if name in ("distilbert", "gpt2", "marian"):
        usual = (
            {"vocab_size": 60, "max_position_embeddings": 24} if name == "distilbert" else {"vocab_size": 60}
        )
    made = getattr(theirs, kind)
    torch.manual_seed(3)
    peer = made(made.config_class(**usual | more)).eval()
    with torch.no_grad():
        for called, parameter in peer.named_parameters():
            if "embed_positions" not in called:  # Marian's are computed
                parameter.add_(0.1 * torch.randn_like(parameter))
    peer.save_pretrained(tmp_path)
    given = asked(torch, input_ids=IDS, attention_mask=REAL)
    if name == "marian":
        config = TransformerConfig(weights=str(tmp_path))
        model = loaded(config)
        out = peer(**given, **asked(torch, decoder_input_ids=AIM, decoder_attention_mask=AIM_REAL))
        seen = model(*map(jnp.asarray, (IDS, REAL, AIM, AIM_REAL)))
        equal(model.logits(seen.hidden), out.logits, AIM_REAL, "marian of theirs, logits")
    elif name in ("gpt2", "llama"):
        config = GptConfig(weights=str(tmp_path))
        model = loaded(config)
        seen = model(jnp.asarray(IDS), jnp.asarray(REAL))
        equal(model.logits(seen.hidden), peer(**given).logits, REAL, f"{name} of theirs, logits")
    else:
        config = BertConfig(weights=str(tmp_path))
        model = config.build(nnx.Rngs(7))
        config.load(model)
        seen = model(jnp.asarray(IDS), jnp.asarray(REAL))
        equal(seen.hidden, peer(**given).last_hidden_state, REAL, f"{name} of theirs, hidden states")


def test_a_run_is_used_there_with_its_tokenizer_and_its_classes(
    torch: Any, theirs: Any, tmp_path: Path
) -> None:
    random, words = (
        np.random.default_rng(0),
        {"bad": ("awful", "dull", "poor"), "good": ("fine", "great", "lovely")},
    )
    rows = [
        {"text": f"{random.choice(words[label])} film , number {number} .", "label": label}
        for number, label in enumerate(["bad", "good"] * 80)
    ]
    model = lk.models["bert"](preset="tiny", width=32, depth=2, heads=2, mlp_width=64, max_length=64)
    run = lk.fit(
        rows, model, folder=tmp_path / "lab", background=False, epochs=20, batch_size=16, max_length=32, keep="last",
        vocabulary=200, learning_rate=2e-3, buckets=1,
    )  # fmt: skip
    folder = run.export(tmp_path / "out")
    texts = ["A fine film, and a long one.", "dull", "A great, awful, lovely film."]
    ours = run.predictor.probabilities(texts)
    assert np.ptp(ours[:, 0]) > 0.05, "it has learnt something"
    cut = theirs.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]")
    peer = opened(theirs.AutoModelForSequenceClassification, folder)
    given = cut(texts, return_tensors="pt", padding=True)
    equal(ours, torch.softmax(peer(**given).logits, -1), what="a trained classifier, probabilities")
    said = json.loads((folder / "config.json").read_text())["id2label"]
    assert (
        [peer.config.id2label[i] for i in range(2)] == [said["0"], said["1"]] == list(run.predictor.classes)
    )


@pytest.mark.samples
def test_the_real_decoder_writes_the_same_there(torch: Any, theirs: Any) -> None:
    from labkit.hub import samples

    folder = samples.folder("smollm2-135m")
    peer = theirs.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    cut = theirs.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    prompt = "Gravity is"
    given = cut(prompt, return_tensors="pt")
    made = peer.generate(**given, max_new_tokens=24, do_sample=False, pad_token_id=0, eos_token_id=0)
    told = lk.TextGenerationPipeline("smollm2-135m").generate(prompt, max_new_tokens=24)
    assert told == cut.decode(made[0, given["input_ids"].shape[1] :], skip_special_tokens=True)
