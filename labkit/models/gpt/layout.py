"""Folders of decoders in the Hugging Face layout, GPT-2's and Llama's: settings and names of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labkit.core.errors import WeightsError
from labkit.i18n import _
from labkit.models import foreign, weights
from labkit.models.layers import spread

# Family → field → key of config.json.
FOREIGN: dict[str, dict[str, str]] = {
    "gpt2": {
        "vocab_size": "vocab_size",
        "width": "n_embd",
        "depth": "n_layer",
        "heads": "n_head",
        "max_length": "n_positions",
        "norm_eps": "layer_norm_epsilon",
        "dropout": "resid_pdrop",
    },
    "llama": {
        "vocab_size": "vocab_size",
        "width": "hidden_size",
        "depth": "num_hidden_layers",
        "heads": "num_attention_heads",
        "kv_heads": "num_key_value_heads",
        "mlp_width": "intermediate_size",
        "max_length": "max_position_embeddings",
        "norm_eps": "rms_norm_eps",
        "rope_base": "rope_theta",
        "tied": "tie_word_embeddings",
    },
}
#: Fields of a config that a folder settles.
FIELDS = ("family", *dict.fromkeys(name for names in FOREIGN.values() for name in names))
# Family → key → what a folder without the key means, and what it may say.
REQUIRED: dict[str, dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "gpt2": {
        "activation_function": ("gelu_new", ("gelu_new", "gelu_pytorch_tanh")),
        "scale_attn_weights": (True, (True,)),
        "scale_attn_by_inverse_layer_idx": (False, (False,)),
        "add_cross_attention": (False, (False,)),
        "tie_word_embeddings": (True, (True,)),
    },
    "llama": {
        "hidden_act": ("silu", ("silu",)),
        "attention_bias": (False, (False,)),
        "mlp_bias": (False, (False,)),
        "rope_scaling": (None, (None,)),
    },
}


def sizes_from(folder: str | Path) -> dict[str, Any]:
    """The fields of :class:`labkit.models.gpt.model.GptConfig` that a Hugging Face folder settles.

    Raises:
        WeightsError: no readable config.json, another architecture, or settings that labkit's layers do not have.
    """
    path = Path(folder) / "config.json"
    config = foreign.settings_of(path)
    if not isinstance(kind := config.get("model_type"), str) or kind not in FOREIGN:
        raise WeightsError(
            _("{folder} contains a model of type {kind!r}; supported: {known}."),
            folder=folder, kind=kind, known=", ".join(map(repr, FOREIGN)),
        )  # fmt: skip
    for key, (absent, allowed) in REQUIRED[kind].items():
        if (said := config.get(key, absent)) not in allowed:
            raise WeightsError(
                _("{path}: {key} = {said!r}; supported: {allowed}."),
                path=path, key=key, said=said, allowed=", ".join(map(repr, allowed)),
            )  # fmt: skip
    names = FOREIGN[kind]
    # Newer readers write the base of the rotary positions into a table of its own.
    rope = config.get("rope_parameters") or {}
    if not isinstance(rope, dict):
        raise WeightsError(
            _("{path}: rope_parameters = {rope}; expected a table."), path=path, rope=foreign.shown(rope)
        )
    config = {**config, **{key: value for key, value in rope.items() if key == "rope_theta"}}
    turning = rope.get("rope_type", "default")
    if turning != "default":
        raise WeightsError(_("{path}: rope_type = {turning!r}; supported: 'default'."), path=path, turning=turning)
    sizes = {name: config[key] for name, key in names.items() if config.get(key) is not None}
    if kind == "gpt2" and config.get("n_inner") is not None:
        sizes["mlp_width"] = config["n_inner"]
    foreign.check_sizes(path, sizes, names)
    size = config.get("head_dim")
    if size is not None and (type(size) is not int or size * sizes.get("heads", 1) != sizes.get("width")):
        raise WeightsError(
            _("{path}: head_dim = {head_dim} times the number of heads must equal the width."),
            path=path,
            head_dim=foreign.shown(size),
        )
    usual = {"tied": False, "rope_base": 10000.0, "dropout": 0.0} if kind == "llama" else {}
    return {"family": kind, **usual, **sizes}


def settings(config: Any, vocab_size: int, specials: weights.Specials | None = None) -> dict[str, Any]:
    """The content of config.json for a ``GptConfig``; without ``specials`` no token begins,
    ends or fills a text."""
    values = config.values()
    own = {key: values[name] for name, key in FOREIGN[config.family].items()}
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")) if specials is None else specials.settings()
    common = {"vocab_size": vocab_size, "initializer_range": spread(config.width), "model_type": config.family, **ids}
    if config.family == "gpt2":
        more = {"n_inner": config.mlp_width, "activation_function": "gelu_new", "embd_pdrop": config.dropout,
                "attn_pdrop": config.dropout, "tie_word_embeddings": True,
                "architectures": ["GPT2LMHeadModel"]}  # fmt: skip
        return {**own, **common, **more}
    more = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "attention_dropout": config.dropout,
            "head_dim": config.width // config.heads, "architectures": ["LlamaForCausalLM"]}  # fmt: skip
    return {**own, **common, **more}


def _conv(own: str, foreign: str, cut: tuple[int, int] = (0, 1)) -> list[weights.Entry]:
    """GPT-2 stores kernels [in, out]; query, key and value as one."""
    return [weights.Entry(f"{own}/kernel", f"{foreign}.weight", (), cut),
            weights.Entry(f"{own}/bias", f"{foreign}.bias", (), cut)]  # fmt: skip


def _norm(own: str, foreign: str) -> list[weights.Entry]:
    return [weights.Entry(f"{own}/scale", f"{foreign}.weight"), weights.Entry(f"{own}/bias", f"{foreign}.bias")]


def _kernel(own: str, foreign: str) -> weights.Entry:
    return weights.Entry(f"{own}/kernel", f"{foreign}.weight", (1, 0))


_LLAMA = "model.layers.{i}"
TABLES = {
    "gpt2": weights.Table(
        entries=(
            weights.Entry("word/embedding", "wte.weight"),
            weights.Entry("position/embedding", "wpe.weight"),
            *_norm("layers/attention_norm", "h.{i}.ln_1"),
            *_conv("layers/query", "h.{i}.attn.c_attn", (0, 3)),
            *_conv("layers/key", "h.{i}.attn.c_attn", (1, 3)),
            *_conv("layers/value", "h.{i}.attn.c_attn", (2, 3)),
            *_conv("layers/out", "h.{i}.attn.c_proj"),
            *_norm("layers/mlp_norm", "h.{i}.ln_2"),
            *_conv("layers/mlp_in", "h.{i}.mlp.c_fc"),
            *_conv("layers/mlp_out", "h.{i}.mlp.c_proj"),
            *_norm("norm", "ln_f"),
        ),
        # The tied output, heads of other tasks, and the triangles that old files hold.
        ignored=("lm_head.", "score.", *(f"h.{i}.attn.{name}" for i in range(100) for name in ("bias", "masked_bias"))),
        prefix="transformer.",
    ),
    "llama": weights.Table(
        entries=(
            weights.Entry("word/embedding", "model.embed_tokens.weight"),
            weights.Entry("layers/attention_norm/scale", f"{_LLAMA}.input_layernorm.weight"),
            _kernel("layers/query", f"{_LLAMA}.self_attn.q_proj"),
            _kernel("layers/key", f"{_LLAMA}.self_attn.k_proj"),
            _kernel("layers/value", f"{_LLAMA}.self_attn.v_proj"),
            _kernel("layers/out", f"{_LLAMA}.self_attn.o_proj"),
            weights.Entry("layers/mlp_norm/scale", f"{_LLAMA}.post_attention_layernorm.weight"),
            _kernel("layers/mlp_gate", f"{_LLAMA}.mlp.gate_proj"),
            _kernel("layers/mlp_in", f"{_LLAMA}.mlp.up_proj"),
            _kernel("layers/mlp_out", f"{_LLAMA}.mlp.down_proj"),
            weights.Entry("norm/scale", "model.norm.weight"),
            weights.Entry("output/kernel", "lm_head.weight", (1, 0)),
        ),
        optional=("lm_head.",),
        ignored=("score.", *(f"model.layers.{i}.self_attn.rotary_emb." for i in range(200))),
    ),
}
