"""Adapters of labkit's runs are opened by ``peft``, on their base models, and give the same logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import labkit as lk

from ..models.test_adapters import BASES, trained

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("default"),
]  # warnings of torch are its own business


@pytest.mark.parametrize("name", BASES)
def test_an_adapter_of_a_run_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch, theirs, peft = (pytest.importorskip(each) for each in ("torch", "transformers", "peft"))
    run, base = trained(name, tmp_path)
    folder = run.export(tmp_path / "out")
    model: Any = theirs.AutoModelForSequenceClassification.from_pretrained(base, num_labels=2, pad_token_id=0)
    model = peft.PeftModel.from_pretrained(model, folder / "adapter").eval()
    spell, texts = theirs.AutoTokenizer.from_pretrained(folder), ["the film 3", "a plot"]
    for text in texts:
        logits = model(**spell(text, return_tensors="pt")).logits
        ours = lk.Predictor(folder).probabilities([text])
        off = np.abs(torch.softmax(logits, -1).detach().numpy() - ours).max()
        print(f"{name}: greatest difference of probabilities {off:.1e}")
        assert off <= 1e-4
