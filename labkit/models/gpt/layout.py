"""Folders of decoders in the Hugging Face layout, of GPT-2, Llama and Qwen: settings and names of weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labkit.core.errors import WeightsError
from labkit.i18n import _
from labkit.models import foreign, weights
from labkit.models.base import ModelConfig
from labkit.models.layers import spread

# Field → key of config.json; Qwen's are those of Llama.
GPT2 = {
    "vocab_size": "vocab_size",
    "width": "n_embd",
    "depth": "n_layer",
    "heads": "n_head",
    "max_length": "n_positions",
    "norm_eps": "layer_norm_epsilon",
    "dropout": "resid_pdrop",
}
LLAMA = {
    "vocab_size": "vocab_size",
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "mlp_width": "intermediate_size",
    "max_length": "max_position_embeddings",
    "norm_eps": "rms_norm_eps",
    "rope_base": "rope_theta",
    "tied": "tie_word_embeddings",
}
FOREIGN = {"gpt2": GPT2, "llama": LLAMA, "qwen2": LLAMA, "qwen3": LLAMA}
#: Fields of a config that a folder settles.
FIELDS = ("family", "rope_scaling", *dict.fromkeys((*GPT2, *LLAMA)))
#: Family → beginning of the names of its classes in transformers.
CLASSES = {"gpt2": "GPT2", "llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}
_MODERN = {"tied": False, "rope_base": 10000.0, "dropout": 0.0, "norm_eps": 1e-6}
_QWEN = {**_MODERN, "max_length": 32768, "kv_heads": 32}
#: Family → what transformers takes a folder without the key for.
SILENT: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "llama": {**_MODERN, "max_length": 2048},
    "qwen2": _QWEN,
    "qwen3": {**_QWEN, "head_dim": 128},
}
# Family → key → what a folder without the key means, and the values that labkit's layers have.
_LLAMA_REQUIRED: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "hidden_act": ("silu", ("silu",)),
    "attention_bias": (False, (False,)),
    "mlp_bias": (False, (False,)),
}
_QWEN_REQUIRED = {**_LLAMA_REQUIRED, "use_sliding_window": (False, (False,))}
REQUIRED: dict[str, dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "gpt2": {
        "activation_function": ("gelu_new", ("gelu_new", "gelu_pytorch_tanh")),
        "scale_attn_weights": (True, (True,)),
        "scale_attn_by_inverse_layer_idx": (False, (False,)),
        "add_cross_attention": (False, (False,)),
        "tie_word_embeddings": (True, (True,)),
    },
    "llama": _LLAMA_REQUIRED,
    "qwen2": {key: value for key, value in _QWEN_REQUIRED.items() if key != "attention_bias"},
    "qwen3": _QWEN_REQUIRED,
}
#: Scaling of rotary positions → its numbers in config.json, in the order of ``GptConfig.rope_scaling``.
SCALINGS = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}


def sizes_from(folder: str | Path) -> dict[str, Any]:
    """The fields of :class:`labkit.models.gpt.model.GptConfig` that a Hugging Face folder settles.

    Raises:
        WeightsError: no readable config.json, another architecture, or settings that labkit's layers do not
            have.
    """
    path = Path(folder) / "config.json"
    config = foreign.settings_of(path)
    if not isinstance(kind := config.get("model_type"), str) or kind not in FOREIGN:
        raise WeightsError(
            _("{folder} contains a model of type {kind!r}; supported: {known}."),
            folder=folder, kind=kind, known=", ".join(map(repr, FOREIGN)),
        )  # fmt: skip
    foreign.check_settings(path, config, REQUIRED[kind])
    if others := [each for each in config.get("layer_types") or () if each != "full_attention"]:
        raise WeightsError(
            _("{path}: layer_types has {other!r}; supported: {allowed}."),
            path=path, other=others[0], allowed="'full_attention'",
        )  # fmt: skip
    rope = {} if kind == "gpt2" else rope_of(path, config)
    names = FOREIGN[kind]
    sizes = {name: config[key] for name, key in names.items() if config.get(key) is not None}
    if kind == "gpt2" and config.get("n_inner") is not None:
        sizes["mlp_width"] = config["n_inner"]
    foreign.check_sizes(path, {**sizes, **{"rope_base": rope.get("rope_base", 1.0)}}, names)
    found = {"family": kind, **SILENT[kind], **sizes, **rope}
    if found.get("head_dim", 0) * found.get("heads", 0) == found.get("width"):
        del found["head_dim"]
    return found


def rope_of(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """``rope_base``, where it is given, and ``rope_scaling`` of a config.json.

    Raises:
        WeightsError: a scaling that labkit does not have, or numbers that cannot be.
    """
    # Newer writers put base and scaling into one table.
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise WeightsError(
            _("{path}: rope_parameters = {rope}; expected a table."), path=path, rope=foreign.shown(rope)
        )
    kind = rope.get("rope_type", rope.get("type", "factor" not in rope and "default"))
    if kind is False:
        raise WeightsError(
            _("{path}: rope_scaling = {rope}; expected a rope_type."), path=path, rope=foreign.shown(rope)
        )
    if kind not in SCALINGS:
        raise WeightsError(
            _("{path}: rope_type = {kind!r}; supported: {known}."),
            path=path, kind=kind, known=", ".join(map(repr, SCALINGS)),
        )  # fmt: skip
    numbers = tuple(rope.get(key) for key in SCALINGS[kind])
    for key, value in zip(SCALINGS[kind], numbers, strict=True):
        if type(value) not in (int, float) or not 0 < value < 1e9:
            raise WeightsError(
                _("{path}: {key} = {value}; expected a positive number."),
                path=path,
                key=key,
                value=foreign.shown(value),
            )
    base = {"rope_base": rope["rope_theta"]} if "rope_theta" in rope else {}
    return {**base, "rope_scaling": tuple(map(float, numbers))}


def settings(
    config: ModelConfig, vocab_size: int, specials: weights.Specials | None = None
) -> dict[str, Any]:
    """The content of config.json for a ``GptConfig``; without ``specials`` no token begins,
    ends or fills a text."""
    values, name = config.values(), CLASSES[config.family]
    own = {key: values[field] for field, key in FOREIGN[config.family].items()}
    ids = (
        dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
        if specials is None
        else specials.settings()
    )
    common = {
        "vocab_size": vocab_size,
        "initializer_range": spread(config.width),
        "model_type": config.family,
        **ids,
    }
    if config.family == "gpt2":
        more = {"n_inner": config.mlp_width, "activation_function": "gelu_new", "embd_pdrop": config.dropout,
                "attn_pdrop": config.dropout, "tie_word_embeddings": True,
                "architectures": [f"{name}LMHeadModel"]}  # fmt: skip
        return {**own, **common, **more}
    more = {"hidden_act": "silu", "head_dim": config.head_size, "attention_dropout": config.dropout,
            "architectures": [f"{name}ForCausalLM"]}  # fmt: skip
    fixed = {key: absent for key, (absent, _allowed) in REQUIRED[config.family].items() if absent is False}
    scaling = {"rope_scaling": _scaling(config.rope_scaling)} if config.rope_scaling else {}
    return {**own, **common, **more, **fixed, **scaling}


def _scaling(numbers: tuple[float, ...]) -> dict[str, Any]:
    """The table ``rope_scaling`` of config.json."""
    kind = next(kind for kind, keys in SCALINGS.items() if len(keys) == len(numbers))
    table = dict(zip(SCALINGS[kind], numbers, strict=True))
    if (length := "original_max_position_embeddings") in table:
        table[length] = int(table[length])
    return {"rope_type": kind, **table}


def _conv(own: str, foreign: str, cut: tuple[int, int] = (0, 1)) -> list[weights.Entry]:
    """GPT-2 stores kernels [in, out]; query, key and value as one."""
    return [weights.Entry(f"{own}/kernel", f"{foreign}.weight", (), cut),
            weights.Entry(f"{own}/bias", f"{foreign}.bias", (), cut)]  # fmt: skip


def _norm(own: str, foreign: str) -> list[weights.Entry]:
    return [
        weights.Entry(f"{own}/scale", f"{foreign}.weight"),
        weights.Entry(f"{own}/bias", f"{foreign}.bias"),
    ]


def _kernel(own: str, foreign: str) -> weights.Entry:
    return weights.Entry(f"{own}/kernel", f"{foreign}.weight", (1, 0))


_LLAMA = "model.layers.{i}"
_BIASES = [weights.Entry(f"layers/{own}/bias", f"{_LLAMA}.self_attn.{own[0]}_proj.bias")
           for own in ("query", "key", "value")]  # fmt: skip
_HEAD_NORMS = [weights.Entry(f"layers/{own}_norm/scale", f"{_LLAMA}.self_attn.{own[0]}_norm.weight")
               for own in ("query", "key")]  # fmt: skip


def _llama(*more: weights.Entry) -> weights.Table:
    return weights.Table(
        entries=(
            weights.Entry("word/embedding", "model.embed_tokens.weight"),
            weights.Entry("layers/attention_norm/scale", f"{_LLAMA}.input_layernorm.weight"),
            _kernel("layers/query", f"{_LLAMA}.self_attn.q_proj"),
            _kernel("layers/key", f"{_LLAMA}.self_attn.k_proj"),
            _kernel("layers/value", f"{_LLAMA}.self_attn.v_proj"),
            _kernel("layers/out", f"{_LLAMA}.self_attn.o_proj"),
            *more,
            weights.Entry("layers/mlp_norm/scale", f"{_LLAMA}.post_attention_layernorm.weight"),
            _kernel("layers/mlp_gate", f"{_LLAMA}.mlp.gate_proj"),
            _kernel("layers/mlp_in", f"{_LLAMA}.mlp.up_proj"),
            _kernel("layers/mlp_out", f"{_LLAMA}.mlp.down_proj"),
            weights.Entry("norm/scale", "model.norm.weight"),
            weights.Entry("output/kernel", "lm_head.weight", (1, 0)),
        ),
        optional=("lm_head.",),
        ignored=("score.", *(f"model.layers.{i}.self_attn.rotary_emb." for i in range(200))),
    )


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
        ignored=(
            "lm_head.",
            "score.",
            *(f"h.{i}.attn.{name}" for i in range(100) for name in ("bias", "masked_bias")),
        ),
        prefix="transformer.",
    ),
    "llama": _llama(),
    "qwen2": _llama(*_BIASES),
    "qwen3": _llama(*_HEAD_NORMS),
}
