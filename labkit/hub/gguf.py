"""GGUF, the format of llama.cpp (ggml specification, version 3): converted to Hugging Face format.

 A file is a header, metadata (key → value), a list of tensors, and their data. :func:`llama` makes a folder
in the Hugging Face layout of a model of the Llama family, with the tokenizer that the file carries.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from labkit.core.errors import SampleError
from labkit.hub.formats import DAMAGE, dequantised, write_json, write_tensors
from labkit.i18n import _

#: Entries of all lists of a file together, at most: a vocabulary has a million or so.
_LISTED = 8_000_000
_SPECIAL = 3  # type of a token that stands for no text
# GGUF → Hugging Face, of a layer
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metadata, and name → array of every tensor, read by the package gguf.

    Arrays have the last axis innermost, as in NumPy (the file counts axes from the inside): a kernel is [out,
    in]. What is quantised comes as float16, computed in float32 and rounded once; the rest as it is stored.

    Raises:
        SampleError: it is not a GGUF file of version 2 or 3, is damaged, or has tensors of an unsupported
            type.
    """
    import gguf

    class Reader(gguf.GGUFReader):
        """The package's reader, which stops where a file claims more than it has."""

        listed = 0

        def _get(self, offset: Any, dtype: Any, count: Any = 1, *more: Any, **named: Any) -> np.ndarray:
            end = int(offset) + np.dtype(dtype).itemsize * int(count)
            if end > len(self.data):
                raise SampleError(
                    _("{file} is truncated or damaged: it describes {end:,} bytes and has {size:,}."),
                    file=path.name, end=end, size=len(self.data),
                )  # fmt: skip
            return super()._get(offset, dtype, count, *more, **named)

        def _get_field_parts(self, orig_offs: Any, raw_type: Any) -> Any:
            if raw_type == gguf.GGUFValueType.ARRAY:
                self.listed += int(self._get(orig_offs + 4, np.uint64)[0])
                if self.listed > _LISTED:
                    raise SampleError(
                        _("{file} is damaged: its lists have {listed:,} entries; the maximum is {most:,}."),
                        file=path.name, listed=self.listed, most=_LISTED,
                    )  # fmt: skip
            return super()._get_field_parts(orig_offs, raw_type)

    try:
        with np.errstate(over="raise"):  # an offset that wraps around
            reader = Reader(path)
        metadata = {name: field.contents() for name, field in reader.fields.items()}
        tensors = {one.name: _values(one.data, one.tensor_type) for one in reader.tensors}
    except DAMAGE as error:
        raise SampleError(
            _("{file} is damaged, or not a GGUF file of version 2 or 3: {error}"), file=path.name, error=error
        ) from error
    return metadata, tensors


def _values(data: np.ndarray, kind: Any) -> np.ndarray:
    """A tensor as it is stored, or dequantised."""
    return np.array(data) if data.dtype.kind == "f" else dequantised(data, kind.name)


def half_turned(kernel: np.ndarray, heads: int) -> np.ndarray:
    """A query or key kernel [heads d, in] whose rotary pairs are neighbours, with pairs (i, i + d / 2)
    instead.

    llama.cpp rotates neighbours, Hugging Face and labkit halves (arXiv 2104.09864 leaves the order open).
    """
    return kernel.reshape(heads, -1, 2, kernel.shape[1]).swapaxes(1, 2).reshape(kernel.shape)


def llama(place: Path) -> None:
    """``raw/model.gguf`` → ``model.safetensors``, ``config.json`` and the tokenizer's two files.

    Raises:
        SampleError: a damaged file, another architecture or kind of tokenizer, or a tensor without a name in
            the layout.
    """
    metadata, stored = read(place / "raw/model.gguf")
    try:
        _convert(place, metadata, stored)
    except DAMAGE as error:
        raise SampleError(
            _("the metadata of the GGUF file do not fit its tensors: {error!r}"), error=error
        ) from error


def _convert(place: Path, metadata: dict[str, Any], stored: dict[str, np.ndarray]) -> None:
    kind, cut = metadata.get("general.architecture"), metadata.get("tokenizer.ggml.pre")
    if kind != "llama" or metadata.get("tokenizer.ggml.model") != "gpt2" or cut != "smollm":
        raise SampleError(
            _("the GGUF file contains a {kind!r} with a tokenizer {cut!r}; supported: 'llama', 'smollm'."),
            kind=kind,
            cut=cut,
        )
    heads, shared = metadata["llama.attention.head_count"], metadata["llama.attention.head_count_kv"]
    tensors = {}
    for name, array in stored.items():
        first, _unused, rest = name.removesuffix(".weight").partition(".")
        layer, _unused, part = rest.partition(".")
        if part in ("attn_q", "attn_k"):
            array = half_turned(array, heads if part == "attn_q" else shared)
        long = (
            f"model.layers.{layer}.{_LAYER[part]}"
            if first == "blk" and part in _LAYER
            else _OUTSIDE.get(first)
        )
        if long is None:
            raise SampleError(
                _("the GGUF file contains the tensor {name!r}, which is not part of Llama."), name=name
            )
        tensors[f"{long}.weight"] = array
    write_tensors(place / "model.safetensors", tensors)
    write_json(place / "config.json", _config(metadata, tied="output.weight" not in stored))
    _write_tokenizer(place, metadata)


def _config(metadata: dict[str, Any], tied: bool) -> dict[str, Any]:
    own = {
        name.removeprefix("llama."): value for name, value in metadata.items() if name.startswith("llama.")
    }
    width, heads = own["embedding_length"], own["attention.head_count"]
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": own["vocab_size"],
        "hidden_size": width,
        "num_hidden_layers": own["block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": own["attention.head_count_kv"],
        "head_dim": width // heads,
        "intermediate_size": own["feed_forward_length"],
        "max_position_embeddings": own["context_length"],
        "rope_theta": own["rope.freq_base"],
        "rms_norm_eps": float(f"{own['attention.layer_norm_rms_epsilon']:.6g}"),  # stored as float32
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied,
        "bos_token_id": metadata["tokenizer.ggml.bos_token_id"],
        "eos_token_id": metadata["tokenizer.ggml.eos_token_id"],
        "pad_token_id": metadata["tokenizer.ggml.padding_token_id"],
        "torch_dtype": "float16",
    }


def _write_tokenizer(place: Path, metadata: dict[str, Any]) -> None:
    """``tokenizer.json``: byte-pair encoding on bytes, each digit cut off first; ``tokenizer_config.json``."""
    pieces, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    special = [number for number, kind in enumerate(types) if kind == _SPECIAL]
    on_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": pieces[number], **plain} for number in special],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, on_bytes],
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {piece: number for number, piece in enumerate(pieces)},
            "merges": metadata["tokenizer.ggml.merges"],
        },
    }
    write_json(place / "tokenizer.json", tokenizer, indent=None)
    roles = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    settings = {
        f"{role}_token": pieces[metadata[f"tokenizer.ggml.{name}_token_id"]] for role, name in roles.items()
    }
    settings |= {"chat_template": metadata["tokenizer.chat_template"], "add_prefix_space": False}
    settings |= {"tokenizer_class": "GPT2Tokenizer", "model_max_length": metadata["llama.context_length"]}
    write_json(place / "tokenizer_config.json", settings)
