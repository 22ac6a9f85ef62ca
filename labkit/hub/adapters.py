"""PEFT adapters: folders with ``adapter_config.json`` and ``adapter_model.safetensors``.

 A LoRA adapter (Hu et al. 2021, arXiv 2106.09685) is read by adding it to its base model once; the sum is
kept in the cache as a folder of transformers, which every architecture of labkit reads. What is not a plain
LoRA is refused.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from labkit.core.cache import cache_dir, fingerprint, sha256_file, write_atomic
from labkit.core.errors import WeightsError
from labkit.core.safety import small_text
from labkit.hub.tensors import Tensors, check_values, write_tensors
from labkit.i18n import _

CONFIG, FILE = "adapter_config.json", "adapter_model.safetensors"
#: Key of adapter_config.json → values that a plain LoRA has; the first is that of a file without the key.
REQUIRED: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva"),
    **dict.fromkeys(
        ("use_dora", "lora_bias", "use_qalora", "layer_replication", "target_parameters", "trainable_token_indices",
         "alora_invocation_tokens", "megatron_config", "arrow_config", "use_bdlora", "velora_config"),
        (None, False, [], {}),
    ),
}  # fmt: skip
#: ``task_type`` → ending of the class of transformers.
CLASSES = {
    "SEQ_CLS": "ForSequenceClassification",
    "QUESTION_ANS": "ForQuestionAnswering",
    "CAUSAL_LM": "ForCausalLM",
}
_PREFIX = "base_model.model."
#: Files that say nothing of the sum.
_OTHER = (CONFIG, "config.json", ".index.json", "manifest.json", "labkit.json")


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter instead of a model."""
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def merged(folder: Path, find: Callable[[str], Path]) -> Path:
    """The folder of an adapter's base model with the adapter added to it, made on first use.

    Args:
        folder: the adapter.
        find: the folder of the base model by name.

    Raises:
        WeightsError: the adapter is no plain LoRA, or does not fit its base model, or that cannot be found.
    """
    config = _settings(folder)
    base = find(_base(folder, config))
    parts = sorted(path for path in base.iterdir() if path.suffix in (".json", ".safetensors", ".txt"))
    stamps = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in parts]
    name = fingerprint("adapter 1", config, sha256_file(folder / FILE), str(base.resolve()), stamps)[:32]
    target = cache_dir("adapters") / name
    if not (target / "config.json").is_file():
        target.mkdir(parents=True, exist_ok=True)
        tensors, settings = _sum(folder, config, base)
        write_tensors(target, tensors)
        for source in (base, folder):  # the adapter's tokenizer, where it has one
            for path in source.iterdir():
                if path.suffix in (".json", ".txt", ".jinja") and not path.name.endswith(_OTHER):
                    shutil.copyfile(path, target / path.name)
        write_atomic(target / "config.json", json.dumps(settings, indent=2, sort_keys=True) + "\n")
    return target


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = json.loads(small_text(path, WeightsError))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            _("{path} cannot be read ({error}). Copy the adapter again."), path=path, error=error
        ) from None
    if not isinstance(config, dict):
        raise WeightsError(
            _("{path} contains a {type}, not a table of settings."), path=path, type=type(config).__name__
        )
    for key, allowed in REQUIRED.items():
        if (value := config.get(key, allowed[0])) not in allowed:
            raise WeightsError(
                _("{path}: {key} = {value}; supported: {allowed}."), path=path, key=key, value=repr(value)[:80],
                allowed=", ".join(map(repr, allowed[:2])),
            )  # fmt: skip
    if not (folder / FILE).is_file():
        there = ", ".join(sorted(each.name for each in folder.iterdir()))
        raise WeightsError(
            _("{folder} has no {file}; it has: {there}."), folder=folder, file=FILE, there=there
        )
    return config


def _base(folder: Path, config: Mapping[str, Any]) -> str:
    """The name of the base model as :func:`labkit.hub.pretrained.find` reads it."""
    name, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(name, str) or not name:
        raise WeightsError(_("{path} names no base model (base_model_name_or_path)."), path=folder / CONFIG)
    if not Path(name).is_absolute() and (folder / name).is_dir():
        return str(folder / name)
    return f"{name}@{revision}" if isinstance(revision, str) and not Path(name).is_dir() else name


def _sum(folder: Path, config: Mapping[str, Any], base: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors of the base model with the adapter added, and the content of config.json."""
    whole, added = Tensors(base), Tensors(folder, [folder / FILE])
    tensors = {name: whole[name] for name in whole}
    used: set[str] = set()
    factors = sorted(name.removesuffix(".lora_A.weight") for name in added if name.endswith(".lora_A.weight"))
    for module in factors:
        name = _named(module.removeprefix(_PREFIX) + ".weight", whole, folder)
        a, b = (added.checked(f"{module}.lora_{letter}.weight").astype(np.float32) for letter in "AB")
        used |= {f"{module}.lora_{letter}.weight" for letter in "AB"}
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
            raise WeightsError(
                _("{folder}: {module} has the factors {a} and {b}; expected [r, n] and [m, r]."),
                folder=folder, module=module, a=list(a.shape), b=list(b.shape),
            )  # fmt: skip
        change = np.float32(_scale(folder, config, module, len(a))) * (b @ a)
        change = change.T if config.get("fan_in_fan_out") else change
        if change.shape != whole.kind(name)[0]:
            raise WeightsError(
                _("{folder}: {module} adds {change} to {name}, which has the shape {shape}. Is this the adapter of "
                  "another model?"),
                folder=folder, module=module, change=list(change.shape), name=name, shape=list(whole.kind(name)[0]),
            )  # fmt: skip
        tensors[name] = tensors[name].astype(np.float32) + change
        check_values(tensors[name], name, folder)
    known = json.loads(small_text(base / "config.json", WeightsError))
    for name in added:  # modules_to_save, such as the head
        if name not in used and re.search(r"\.lora_|\.lora_embedding_", name):
            raise WeightsError(
                _("{folder} has {name}, which is no factor of a linear layer."), folder=folder, name=name
            )
        if name not in used:
            tensors[_named(name.removeprefix(_PREFIX), whole, folder, new=True)] = added.checked(name)
    return tensors, _headed(known, config, tensors)


def _scale(folder: Path, config: Mapping[str, Any], module: str, rank: int) -> float:
    """alpha / rank of a module, or with rslora alpha / sqrt(rank) (Kalajdzievski 2023, arXiv 2312.03732)."""
    alpha = _own(config.get("alpha_pattern"), module, config.get("lora_alpha", 8))
    if type(alpha) not in (int, float) or not math.isfinite(alpha):
        raise WeightsError(
            _("{path}: {key} = {value}; expected numbers."),
            path=folder / CONFIG,
            key="lora_alpha",
            value=alpha,
        )
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _own(patterns: Any, module: str, usual: Any) -> Any:
    """The value of the first of ``patterns``, ends of names of modules, that fits."""
    for end, value in (patterns or {}).items():
        if module == end or module.endswith(f".{end}"):
            return value
    return usual


def _named(name: str, base: Mapping[str, Any], folder: Path, new: bool = False) -> str:
    """The tensor of the base model that an adapter calls ``name``: files of models with and without a head
    differ in the beginning of names. ``new``: it may be one that the base model lacks."""
    if name in base:
        return name
    found = [each for each in base if each.endswith(f".{name}") or name.endswith(f".{each}")]
    if len(found) == 1:
        return found[0]
    if new and not found:
        return name
    raise WeightsError(
        _("{folder} adds to {name}, which its base model does not have. Is this the adapter of another model?"),
        folder=folder, name=name,
    )  # fmt: skip


def _headed(
    known: dict[str, Any], config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """config.json of the base model with the class of the adapter's task, and a name for each output of its
    head."""
    ending = CLASSES.get(str(config.get("task_type")), "")
    named = next(iter(known.get("architectures") or ()), "")
    if ending and not named.endswith((ending, "LMHeadModel")):
        stem = re.split(r"(?=For[A-Z]|Model$|LMHead|PreTrained)", named)[0]
        known = {**known, "architectures": [stem + ending]}
    last = next((name for name in ("score.weight", "classifier.weight", "classifier.out_proj.weight")
                 if name in tensors), "")  # fmt: skip
    if (
        config.get("task_type") == "SEQ_CLS"
        and last
        and len(known.get("id2label") or ()) != len(tensors[last])
    ):
        known = {**known, "id2label": {str(place): f"LABEL_{place}" for place in range(len(tensors[last]))}}
        known.pop("label2id", None)
    return known
