"""Writing LoRA adapters as PEFT reads them; :mod:`labkit.hub.adapters` reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from labkit.core.cache import write_atomic
from labkit.hub.adapters import CLASSES, CONFIG, FILE
from labkit.models.weights import Entry, Table, Tensors, write_tensors

_PREFIX = "base_model.model."


def save(
    params: Mapping[str, np.ndarray],
    folder: Path,
    *,
    model: Path,
    base: Path,
    name: str,
    table: Table,
    alpha: float,
) -> Path:
    """Write the low-rank additions of a trained model, and every other tensor that training changed.

    Args:
        params: flat, of the model as it was trained: the additions are ``backbone/…/lora_a`` and
        ``…/lora_b``.
        folder: where; made if it is not there.
        model: the folder of transformers with the same model, the additions in its kernels.
        base: the folder of the pretrained weights, and ``name``, as it was given.
        table: the names of the architecture's weights.
        alpha: additions are multiplied by alpha / rank.
    """
    whole, before = Tensors(model), Tensors(base)
    stored = {table.canonical(each): each for each in whole}
    groups: dict[str, list[tuple[Entry, np.ndarray, np.ndarray]]] = {}
    for entry in table.entries:
        path = f"backbone/{entry.own.removesuffix('/kernel')}"
        if entry.own.endswith("/kernel") and f"{path}/lora_a" in params:
            a, b = (np.asarray(params[f"{path}/lora_{letter}"], np.float32) for letter in "ab")
            groups.setdefault(entry.foreign, []).append((entry, a, b))
    tensors, ranks, changed, turned = {}, {}, set(), False
    for several in groups.values():
        entry, first, _unused = several[0]
        turned |= not entry.axes  # GPT-2 stores kernels [in, out]
        for layer, foreign in enumerate(entry.names(first.shape)):
            parts = [(each, a[layer], b[layer]) if entry.stacked else (each, a, b) for each, a, b in several]
            changed.add(own := stored[foreign])
            module = own.removesuffix(".weight")
            tensors[f"{_PREFIX}{module}.lora_A.weight"] = np.concatenate([a.T for _, a, _ in parts])
            tensors[f"{_PREFIX}{module}.lora_B.weight"] = _joined(parts)
            ranks[module] = sum(a.shape[1] for _, a, _ in parts)
    earlier = {table.canonical(each): each for each in before}
    others = {
        own.rpartition(".")[0] for known, own in stored.items()
        if own not in changed and not (known in earlier and np.array_equal(whole[own], before[earlier[known]]))
    }  # fmt: skip
    tensors |= {_PREFIX + own: whole[own] for own in whole if own.rpartition(".")[0] in others}
    rank = min(ranks.values())
    wide = {module: each for module, each in ranks.items() if each != rank}
    settings = json.loads((model / "config.json").read_text(encoding="utf-8"))
    named = next(iter(settings.get("architectures") or ()), "")
    repository, _at, revision = name.partition("@")
    config = {
        "peft_type": "LORA", "base_model_name_or_path": repository, "revision": revision or None,
        "task_type": next((kind for kind, end in CLASSES.items() if named.endswith((end, "LMHeadModel"))), None),
        "r": rank, "lora_alpha": alpha, "rank_pattern": wide, "lora_dropout": 0.0, "bias": "none",
        "alpha_pattern": {module: alpha * each / rank for module, each in wide.items()},
        "fan_in_fan_out": turned, "inference_mode": True, "use_rslora": False, "use_dora": False,
        "target_modules": sorted(ranks), "modules_to_save": sorted(others) or None,
    }  # fmt: skip
    write_tensors(folder, tensors, FILE)
    write_atomic(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    return folder


def _joined(parts: list[tuple[Entry, np.ndarray, np.ndarray]]) -> np.ndarray:
    """The second factors f32[m, r] of the parts of one stored matrix, each in its own rows and columns."""
    count = parts[0][0].cut[1]
    high = parts[0][2].shape[1]
    joined = np.zeros((count * high, sum(b.shape[0] for _, _, b in parts)), np.float32)
    column = 0
    for entry, _a, b in parts:
        row, wide = entry.cut[0] * high, b.shape[0]
        joined[row : row + high, column : column + wide] = b.T
        column += wide
    return joined
