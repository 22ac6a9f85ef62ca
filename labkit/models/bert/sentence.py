"""sentence-transformers folders: an encoder and the modules that pool its hidden states.

 ``modules.json`` lists the modules in order, each with its folder: Transformer, Pooling, Dense, Normalize
(Reimers & Gurevych 2019, arXiv 1908.10084). A folder without that file, but with ``1_Pooling``, is an encoder
with that pooling.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from labkit.core.cache import write_atomic
from labkit.core.errors import WeightsError
from labkit.core.shapes import Array, Float
from labkit.i18n import _
from labkit.models import weights
from labkit.models.foreign import check_sizes, json_of, shown, table_of

#: Pooling of sentence-transformers → that of :class:`labkit.models.bert.model.BertConfig`.
POOLING = {
    "cls": "first",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt",
    "weightedmean": "weighted_mean",
    "lasttoken": "last",
}
#: The older spelling, one switch for each, in the order in which several are concatenated.
_SWITCHES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_ACTIVATIONS = {
    "Identity": lambda x: x,
    "Tanh": jnp.tanh,
    "ReLU": jax.nn.relu,
    "GELU": lambda x: jax.nn.gelu(x, approximate=False),
    "Sigmoid": jax.nn.sigmoid,
    "SiLU": jax.nn.silu,
}
MODULES, SETTINGS, LENGTH = "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"
#: What a JSON file that cannot be read raises.
_UNREADABLE = _("{path} cannot be read ({error}). Fetch or copy the folder again.")
#: Where an encoder is written whose head is on a pooled vector that its own class has not.
ENCODER = "0_Transformer"


@dataclass(frozen=True)
class Dense:
    """A linear layer with an activation: kernel f32 [d, k], bias f32 [k] or None."""

    kernel: np.ndarray
    bias: np.ndarray | None
    activation: str = "Identity"

    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b k"]:
        product = x @ self.kernel
        return _ACTIVATIONS[self.activation](product if self.bias is None else product + self.bias)


@dataclass(frozen=True)
class Normalize:
    """Vectors made 1 long."""

    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b d"]:
        return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


@dataclass(frozen=True)
class SentenceFolder:
    """What a folder says of how its vectors are made.

    Attributes:
        encoder: the folder with the encoder's config.json and weights.
        pooling: one or more poolings, by labkit's names; several are concatenated.
        layers: what follows the pooled vector, in its order.
        max_length: maximum tokens per text; None where the folder does not say.
        prompts: name → text to put in front; ``prompt`` is the name of the usual one, or "".
        include_prompt: whether the tokens of a prompt are pooled too.
        lowercase: whether texts are lower-cased first.
    """

    encoder: Path
    pooling: tuple[str, ...]
    layers: tuple[Dense | Normalize, ...] = ()
    max_length: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    prompt: str = ""
    include_prompt: bool = True
    lowercase: bool = False


def read(folder: str | Path) -> SentenceFolder | None:
    """Description of a folder, or None if it is not a sentence-transformers folder.

    Raises:
        WeightsError: a file cannot be read, or the folder has a module, a pooling or an activation that
            labkit has not.
    """
    folder = Path(folder)
    pooling = folder / "1_Pooling" / "config.json"
    if not (folder / MODULES).is_file():
        if not pooling.is_file():
            return None
        found, included = _pooling(pooling)
        return SentenceFolder(folder, found, include_prompt=included)
    (_unused, encoder), (_unused, pooled), *rest = _modules(folder)
    found, included = _pooling(pooled / "config.json")
    layers = [_dense(place) if kind == "Dense" else Normalize() for kind, place in rest]
    length, settings = _table(encoder / LENGTH, {}), _table(folder / SETTINGS, {})
    prompts, usual = settings.get("prompts") or {}, settings.get("default_prompt_name") or ""
    if not isinstance(prompts, dict) or not isinstance(usual, str):
        raise WeightsError(
            _("{folder}: prompts must be a table, and default_prompt_name one of its names."),
            folder=folder / SETTINGS,
        )
    longest, lowercase = length.get("max_seq_length"), length.get("do_lower_case")
    if longest is not None:
        check_sizes(encoder / LENGTH, {"max_length": longest}, {"max_length": "max_seq_length"})
    if not isinstance(lowercase, bool | None):
        raise WeightsError(
            _("{encoder}: do_lower_case = {lowercase}; expected true or false."),
            encoder=encoder / LENGTH,
            lowercase=shown(lowercase),
        )
    texts = {name: text for name, text in prompts.items() if isinstance(text, str)}
    return SentenceFolder(encoder, found, tuple(layers), longest, texts, usual, included, bool(lowercase))


def encoder_folder(folder: str | Path) -> Path:
    """The folder that holds the encoder itself: ``folder``, or the one that its modules.json names.

    Raises:
        WeightsError: modules.json cannot be read, or lists a module that labkit has not.
    """
    folder = Path(folder)
    return _modules(folder)[0][1] if (folder / MODULES).is_file() else folder


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """Kind and folder of each module of modules.json that does something: Transformer, Pooling, Dense,
    Normalize."""
    parts, found = json_of(folder / MODULES, _UNREADABLE), []
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise WeightsError(
            _("{file} is not a list of modules. Fetch or copy the folder again."), file=folder / MODULES
        )
    for part in parts:
        kind, place = str(part.get("type", "")).rpartition(".")[2], _inside(folder, str(part.get("path", "")))
        expected = (
            ("Transformer",) if not found else ("Pooling",) if len(found) == 1 else ("Dense", "Normalize")
        )
        if kind in expected:
            found.append((kind, place))
        elif kind != "Dropout":
            raise WeightsError(
                _(
                    "{file} has the module {type!r}; supported, in this order: Transformer, Pooling, Dense, Normalize."
                ),
                file=folder / MODULES,
                type=part.get("type"),
            )
    if len(found) < 2:
        raise WeightsError(
            _("{file} lists no Transformer followed by Pooling, which are needed to compute embeddings."),
            file=folder / MODULES,
        )
    return found


def write(
    folder: Path, encoder: str, pooling: str, width: int, layers: Sequence[Dense | Normalize], max_length: int
) -> None:
    """Write the files that make a folder one of sentence-transformers; the encoder is written by its config.

    Args:
        folder: the root; ``encoder`` is the encoder's folder in it, "" for the root itself.
        pooling: labkit's name of it.
        width: of the hidden states.
        layers: what follows the pooled vector.
        max_length: maximum tokens per text.
    """
    theirs = next(name for name, own in POOLING.items() if own == pooling)
    parts = [("Transformer", encoder), ("Pooling", "1_Pooling")]
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, "include_prompt": True}
           | {switch: name == theirs for switch, name in _SWITCHES.items()})  # fmt: skip
    for layer in layers:
        kind = type(layer).__name__
        parts.append((kind, f"{len(parts)}_{kind}"))
        place = folder / parts[-1][1]
        place.mkdir(parents=True, exist_ok=True)
        if isinstance(layer, Dense):
            wide, out = layer.kernel.shape
            _write(place / "config.json", {"in_features": wide, "out_features": out, "bias": layer.bias is not None,
                   "activation_function": _module(layer.activation)})  # fmt: skip
            bias = {} if layer.bias is None else {"linear.bias": layer.bias}
            weights.write_tensors(place, {"linear.weight": layer.kernel.T, **bias})
        else:  # an empty folder would not be copied by every program
            _write(place / "config.json", {})
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(parts)
    ]
    _write(folder / MODULES, modules)
    _write(folder / encoder / LENGTH, {"max_seq_length": max_length, "do_lower_case": False})
    _write(folder / SETTINGS, {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"})


def _module(activation: str) -> str:
    inner = "linear" if activation == "Identity" else "activation"
    return f"torch.nn.modules.{inner}.{activation}"


def _pooling(path: Path) -> tuple[tuple[str, ...], bool]:
    """The poolings of a ``1_Pooling/config.json`` in either spelling, and whether prompts are pooled too."""
    config = _table(path)
    named = config.get("pooling_mode")
    if named is None:
        named = [name for switch, name in _SWITCHES.items() if config.get(switch)] or ["mean"]
    named = [named] if isinstance(named, str) else named
    if not isinstance(named, list) or not named or not all(isinstance(name, str) for name in named):
        raise WeightsError(
            _("{path}: pooling_mode = {named}; expected a string or a list of strings."),
            path=path,
            named=shown(named),
        )
    if unknown := [name for name in named if name not in POOLING]:
        raise WeightsError(
            _("{path}: pooling {unknown!r}; supported: {known}."),
            path=path, unknown=unknown[0], known=", ".join(POOLING),
        )  # fmt: skip
    return tuple(POOLING[name] for name in named), bool(config.get("include_prompt", True))


def _dense(folder: Path) -> Dense:
    config = _table(folder / "config.json")
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    name = activation.rpartition(".")[2]
    if not activation.startswith("torch.nn.") or name not in _ACTIVATIONS:
        raise WeightsError(
            _("{file}: activation_function = {activation!r}; supported: {known}."),
            file=folder / "config.json", activation=activation, known=", ".join(_ACTIVATIONS),
        )  # fmt: skip
    if config.get("use_residual"):
        raise WeightsError(_("{file}: use_residual = true; supported: false."), file=folder / "config.json")
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, "sentence_embedding"):
            raise WeightsError(
                _("{file}: {key} = {value!r}; supported: 'sentence_embedding'."),
                file=folder / "config.json", key=key, value=config[key],
            )  # fmt: skip
    tensors = weights.Tensors(folder)
    expected = ["linear.weight", *(["linear.bias"] if config.get("bias", True) else [])]
    if lacking := [name for name in expected if name not in tensors]:
        raise WeightsError(
            _("{folder} has no {lacking}. Fetch or copy it again."),
            folder=folder,
            lacking=" and no ".join(lacking),
        )
    kernel = np.asarray(tensors.checked("linear.weight"), np.float32).T
    bias = np.asarray(tensors.checked("linear.bias"), np.float32) if config.get("bias", True) else None
    shape = (config.get("in_features", kernel.shape[0]), config.get("out_features", kernel.shape[1]))
    if kernel.shape != shape or (bias is not None and bias.shape != shape[1:]):
        raise WeightsError(
            _("{folder}: linear.weight has the shape {shape}; config.json states {wanted}."),
            folder=folder, shape=kernel.T.shape, wanted=shape[::-1],
        )  # fmt: skip
    return Dense(kernel, bias, name)


def _inside(folder: Path, name: str) -> Path:
    place = folder / name
    if not place.resolve().is_relative_to(folder.resolve()) or not place.is_dir():
        raise WeightsError(
            _("{file} lists {name!r}, which is not a folder next to it. Download or copy it again."),
            file=folder / MODULES,
            name=name,
        )
    return place


def _table(path: Path, absent: object = None) -> Any:
    """The table in a JSON file; ``absent``, unless it is None, where there is no such file."""
    return table_of(path, _UNREADABLE) if absent is None or path.is_file() else absent


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(content, indent=2, sort_keys=True) + "\n")
