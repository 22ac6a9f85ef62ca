"""GGUF, the format of llama.cpp (ggml specification, version 3): converted to Hugging Face format.

A file is a header, metadata (key → value), a list of tensors, and their data. :func:`llama` makes a folder in the
Hugging Face layout of a model of the Llama family, with the tokenizer that the file carries.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from labkit.core.errors import SampleError
from labkit.hub.formats import BLOCK, FORMS, dequantised, write_json, write_tensors
from labkit.i18n import _

_NUMBERS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
_STRING, _ARRAY = 8, 9
_KINDS = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 8: "Q8_0"}  # of tensors; others are named in the error
_PLAIN = {"F32": "<f4", "F16": "<f2"}
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


class _Cursor:
    """Reads numbers, texts and lists one after the other."""

    def __init__(self, data: np.ndarray):
        self.data, self.place = memoryview(data), 0

    def numbers(self, kinds: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{kinds}", self.data, self.place)
        self.place += struct.calcsize(f"<{kinds}")
        return found

    def text(self) -> str:
        (length,) = self.numbers("Q")
        if self.place + length > len(self.data):
            raise SampleError(_("this GGUF file is truncated."))
        self.place += length
        return bytes(self.data[self.place - length : self.place]).decode()

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            inner, count = self.numbers("IQ")
            return list(self.numbers(f"{count}{_NUMBERS[inner]}")) if inner in _NUMBERS else [
                self.value(inner) for _ in range(count)
            ]  # fmt: skip
        if kind not in _NUMBERS:
            raise SampleError(_("this GGUF file has a value of the unknown type {kind}."), kind=kind)
        return self.numbers(_NUMBERS[kind])[0]


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metadata, and name → array of every tensor.

    Arrays have the last axis innermost, as in NumPy (the file counts axes from the inside): a kernel is [out, in]. What
    is quantised comes as float16, the rest as it is stored.

    Raises:
        SampleError: it is not a GGUF file of version 2 or 3, is damaged, or has tensors of an unsupported type.
    """
    data = np.memmap(path, np.uint8, "r")
    cursor = _Cursor(data)
    try:
        magic, version, count, pairs = cursor.numbers("4sIQQ")
        if magic != b"GGUF" or version not in (2, 3):
            raise SampleError(_("{file} is not a GGUF file of version 2 or 3."), file=path.name)
        metadata = {cursor.text(): cursor.value(*cursor.numbers("I")) for _ in range(pairs)}
        infos = []
        for _unused in range(count):
            name, (axes,) = cursor.text(), cursor.numbers("I")
            infos.append((name, cursor.numbers(f"{axes}Q")[::-1], *cursor.numbers("IQ")))
    except (struct.error, UnicodeDecodeError) as error:
        raise SampleError(_("{file} is damaged: {error}"), file=path.name, error=error) from error
    step = metadata.get("general.alignment", 32)
    begin = -(-cursor.place // step) * step
    return metadata, {name: _tensor(data[begin + at :], name, shape, kind) for name, shape, kind, at in infos}


def _tensor(data: np.ndarray, name: str, shape: tuple[int, ...], kind: int) -> np.ndarray:
    if (form := _KINDS.get(kind)) is None:
        raise SampleError(
            _("tensor {name} has the type {kind}; supported: {known}."),
            name=name, kind=kind, known=", ".join(_KINDS.values()),
        )  # fmt: skip
    count = int(np.prod(shape))
    size = count * np.dtype(_PLAIN[form]).itemsize if form in _PLAIN else count // BLOCK * FORMS[form].itemsize
    if size > len(data) or (form in FORMS and shape[-1] % BLOCK):
        raise SampleError(
            _("tensor {name} {shape} is truncated or not a whole number of blocks."), name=name, shape=list(shape)
        )
    values = np.frombuffer(data[:size].tobytes(), _PLAIN[form]) if form in _PLAIN else dequantised(form, data[:size])
    return values.reshape(shape)


def half_turned(kernel: np.ndarray, heads: int) -> np.ndarray:
    """A query or key kernel [heads d, in] whose rotary pairs are neighbours, with pairs (i, i + d / 2) instead.

    llama.cpp rotates neighbours, Hugging Face and labkit halves (arXiv 2104.09864 leaves the order open).
    """
    return kernel.reshape(heads, -1, 2, kernel.shape[1]).swapaxes(1, 2).reshape(kernel.shape)


def llama(place: Path) -> None:
    """``raw/model.gguf`` → ``model.safetensors``, ``config.json`` and the tokenizer's two files.

    Raises:
        SampleError: another architecture or kind of tokenizer, or a tensor without a name in the layout.
    """
    metadata, stored = read(place / "raw/model.gguf")
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
        long = f"model.layers.{layer}.{_LAYER[part]}" if first == "blk" and part in _LAYER else _OUTSIDE.get(first)
        if long is None:
            raise SampleError(_("the GGUF file contains the tensor {name!r}, which is not part of Llama."), name=name)
        tensors[f"{long}.weight"] = array
    write_tensors(place / "model.safetensors", tensors)
    write_json(place / "config.json", _config(metadata, tied="output.weight" not in stored))
    _write_tokenizer(place, metadata)


def _config(metadata: dict[str, Any], tied: bool) -> dict[str, Any]:
    own = {name.removeprefix("llama."): value for name, value in metadata.items() if name.startswith("llama.")}
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
    settings = {f"{role}_token": pieces[metadata[f"tokenizer.ggml.{name}_token_id"]] for role, name in roles.items()}
    settings |= {"chat_template": metadata["tokenizer.chat_template"], "add_prefix_space": False}
    settings |= {"tokenizer_class": "GPT2Tokenizer", "model_max_length": metadata["llama.context_length"]}
    write_json(place / "tokenizer_config.json", settings)
