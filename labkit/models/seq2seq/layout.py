"""Folders of encoder-decoder Transformers in the Hugging Face layout: their settings and the names of their
weights.

 Two architectures of that layout are this Transformer. Marian (Junczys-Dowmunt et al. 2018, arXiv 1804.00344)
normalises after every part, as published; Pegasus (Zhang et al. 2019, arXiv 1912.08777) before every part and
once more at the end of either stack. The names are the same but for those two last norms.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labkit.core.errors import WeightsError
from labkit.i18n import _
from labkit.models import foreign, weights
from labkit.models.base import ModelConfig
from labkit.models.layers import spread

# Field → key of config.json. What the encoder and the decoder could have apart is TWINS: equal here.
FOREIGN = {
    "vocab_size": "vocab_size",
    "width": "d_model",
    "encoder_depth": "encoder_layers",
    "decoder_depth": "decoder_layers",
    "heads": "encoder_attention_heads",
    "mlp_width": "encoder_ffn_dim",
    "max_length": "max_position_embeddings",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "activation": "activation_function",
}
TWINS = {"heads": "decoder_attention_heads", "mlp_width": "decoder_ffn_dim"}
ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "swish": "swish",
    "silu": "swish",
}
KINDS = {"marian": False, "pegasus": True}  # model_type → whether it normalises first
CLASSES = {False: "MarianMTModel", True: "PegasusForConditionalGeneration"}
# Key → (what a folder without the key means, what it must say).
REQUIRED = {
    "scale_embedding": (False, True),
    "share_encoder_decoder_embeddings": (True, True),
    "tie_word_embeddings": (True, True),
}


def sizes_from(folder: str | Path) -> dict[str, Any]:
    """The fields of :class:`~labkit.models.seq2seq.model.TransformerConfig` that a Hugging Face folder
    settles.

    Raises:
        WeightsError: no readable config.json, another architecture, settings that this Transformer does not
            have: stacks of different heads or widths, embeddings that are not shared or not scaled.
    """
    path = Path(folder) / "config.json"
    config = foreign.settings_of(path)
    if not isinstance(kind := config.get("model_type"), str) or kind not in KINDS:
        raise WeightsError(
            _("{folder} contains a model of type {kind!r}; supported: {known}."),
            folder=folder, kind=kind, known=", ".join(map(repr, KINDS)),
        )  # fmt: skip
    if lacking := [key for key in FOREIGN.values() if key not in config]:
        raise WeightsError(
            _("{path} lacks {lacking}. Fetch or copy the folder again."),
            path=path,
            lacking=", ".join(lacking),
        )
    for key, (absent, needed) in REQUIRED.items():
        if (said := config.get(key, absent)) is not needed:
            raise WeightsError(
                _("{path}: {key} = {said!r}; supported: {needed!r}."),
                path=path,
                key=key,
                said=said,
                needed=needed,
            )
    for name, key in TWINS.items():
        if (other := config.get(key, config[FOREIGN[name]])) != config[FOREIGN[name]]:
            raise WeightsError(
                _("{path}: {own_key} = {value!r} and {key} = {other!r}; they must agree."),
                path=path, own_key=FOREIGN[name], value=config[FOREIGN[name]], key=key, other=other,
            )  # fmt: skip
    act = config["activation_function"]
    if not isinstance(act, str) or act not in ACTIVATIONS:
        raise WeightsError(
            _("{path}: activation_function = {act!r}; supported: {known}."),
            path=path, act=act, known=", ".join(ACTIVATIONS),
        )  # fmt: skip
    sizes = {name: config[key] for name, key in FOREIGN.items()} | {"activation": ACTIVATIONS[act]}
    foreign.check_sizes(path, {name: value for name, value in sizes.items() if name != "activation"}, FOREIGN)
    # Others' folders always hold a bias; labkit's say whether the zeros in theirs are one.
    return {**sizes, "norm_first": KINDS[kind], "output_bias": config.get("labkit_output_bias", True)}


def settings(
    config: ModelConfig, vocab_size: int, specials: weights.Specials | None = None
) -> dict[str, Any]:
    """The content of config.json for a :class:`labkit.models.seq2seq.model.TransformerConfig`.

    Without ``specials`` ``pad_token_id`` and ``decoder_start_token_id`` are 0 and there is no end of text.
    """
    first, values = config.norm_first, config.values()
    ids: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": None}
    ids, start = (ids, 0) if specials is None else (specials.settings(), specials.start)
    return {
        **{key: values[name] for name, key in (*FOREIGN.items(), *TWINS.items())},
        "vocab_size": vocab_size,
        "activation_function": next(act for act, name in ACTIVATIONS.items() if name == config.activation),
        "activation_dropout": 0.0,
        "model_type": next(kind for kind, value in KINDS.items() if value == first),
        "architectures": [CLASSES[first]],
        "is_encoder_decoder": True,
        "scale_embedding": True,
        "static_position_embeddings": True,
        "share_encoder_decoder_embeddings": True,
        "tie_word_embeddings": True,
        "normalize_before": first,
        "add_final_layer_norm": first,
        "init_std": spread(config.width),
        **ids,
        "decoder_start_token_id": ids["bos_token_id"] if start is None else start,
        "forced_eos_token_id": None,
        "labkit_output_bias": config.output_bias,
    }


def _dense(own: str, foreign: str) -> list[weights.Entry]:
    return [
        weights.Entry(f"{own}/kernel", f"{foreign}.weight", (1, 0)),
        weights.Entry(f"{own}/bias", f"{foreign}.bias"),
    ]


def _norm(own: str, foreign: str) -> list[weights.Entry]:
    return [
        weights.Entry(f"{own}/scale", f"{foreign}.weight"),
        weights.Entry(f"{own}/bias", f"{foreign}.bias"),
    ]


def _attention(own: str, foreign: str) -> list[weights.Entry]:
    names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "out_proj"}
    entries = [
        entry for ours, theirs in names.items() for entry in _dense(f"{own}/{ours}", f"{foreign}.{theirs}")
    ]
    return [*entries, *_norm(f"{own}_norm", f"{foreign}_layer_norm")]


def _stack(own: str) -> list[weights.Entry]:
    layer = f"model.{own}.layers.{{i}}"
    return [
        *_attention(f"{own}/attention", f"{layer}.self_attn"),
        *_dense(f"{own}/mlp_in", f"{layer}.fc1"),
        *_dense(f"{own}/mlp_out", f"{layer}.fc2"),
        *_norm(f"{own}/mlp_norm", f"{layer}.final_layer_norm"),
        *_norm(f"{own}_norm", f"model.{own}.layer_norm"),
    ]


BIAS = "final_logits_bias"
TABLE = weights.Table(
    entries=(
        weights.Entry("word/embedding", "model.shared.weight"),
        *_stack("encoder"),
        *_stack("decoder"),
        *_attention("decoder/cross", "model.decoder.layers.{i}.encoder_attn"),
        weights.Entry("output_bias", BIAS),
    ),
    optional=(BIAS,),
    # Copies of the shared table, and sinusoids that are computed.
    ignored=(
        "lm_head.",
        *(
            f"model.{side}.embed_{what}."
            for side in ("encoder", "decoder")
            for what in ("tokens", "positions")
        ),
    ),
)
