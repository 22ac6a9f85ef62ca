"""An encoder that makes vectors of texts: near each other where the texts are alike to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from labkit.base.config import loads
from labkit.base.errors import WeightsError
from labkit.data.text import Tokenizer
from labkit.judge.explanation import Attention
from labkit.models import models, weights
from labkit.models.bert import BertConfig
from labkit.train.compilation import use_compilation_cache
from labkit.train.experiment import Experiment
from labkit.train.inputs import Texts
from labkit.train.setup import load_model

#: Tokens of a text that are read, unless a run says otherwise.
LONGEST = 256


class Embedder:
    """A BERT that a run has trained, whatever its task, or pretrained weights of one.

    A text's vector is what the encoder pools ("mean" or "cls"); of weights without a pooler the mean.

    Args:
        source: a folder of labkit's; or weights as an architecture takes them: a sample ("minilm-l6", "e5-small"), a
            folder in the Hugging Face layout, or "org/name@revision".

    Raises:
        WeightsError: there are no such weights, or they are of another kind of model.
    """

    def __init__(self, source: str | Path):
        use_compilation_cache()
        folder = Path(source)
        if (folder / "labkit.toml").exists():
            experiment: Experiment = loads(Experiment, (folder / "labkit.toml").read_text(encoding="utf-8"))
            if not isinstance(experiment.model, BertConfig):
                raise WeightsError(f"{folder.name!r} holds a {models.name_of(experiment.model)}; vectors are BERT's.")
            module, _, inputs = load_model(experiment, folder)
            model, tokenizer, longest = module.trunk, inputs.tokenizer, experiment.task.max_length
        else:
            model = _loaded(models["bert"](weights=str(source)))
            tokenizer, longest = Tokenizer.load(weights.find(str(source))), min(LONGEST, model.config.max_length)
        self.width = model.config.width
        self._inputs = Texts(tokenizer, longest)
        graph, self._state = nnx.split(model)

        @jax.jit
        def pooled(state: Any, batch: dict[str, Any]) -> jax.Array:
            return nnx.merge(graph, state)(batch["ids"], batch["mask"], batch["types"]).pooled

        @jax.jit
        def looked(state: Any, batch: dict[str, Any]) -> jax.Array:
            return nnx.merge(graph, state).attention(batch["ids"], batch["mask"], batch["types"])

        self._pooled, self._looked = pooled, looked

    def __repr__(self) -> str:
        return f"<embedder: vectors of {self.width}>"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of length 1, f32 [n, d].

        Some encoders want a word before a text, which is then yours to write: "query: " for "e5-small".

        Raises:
            TypeError: one string where a list of strings is needed.
        """
        if isinstance(texts, str):
            raise TypeError(f"embed takes a list of texts: embed([{texts[:40]!r}]).")
        found = np.zeros((len(texts), self.width), np.float32)
        for batch in self._inputs.to_predict(list(texts)) if len(texts) else ():
            real = batch["index"] >= 0
            found[batch["index"][real]] = jax.device_get(self._pooled(self._state, batch))[real]
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)

    def similarity(self, texts: Sequence[str], others: Sequence[str] | None = None) -> np.ndarray:
        """Cosines of the vectors of n texts with those of m others (or with their own), f32 [n, m]."""
        ours = self.embed(texts)
        return ours @ (ours if others is None else self.embed(others)).T

    def attention(self, text: str, pair: str | None = None) -> Attention:
        """The attention of every layer and head over the tokens of a text, or of two read together."""
        (batch,) = self._inputs.to_predict([text], None if pair is None else [pair])
        count = int(batch["mask"][0].sum())
        weights = jax.device_get(self._looked(self._state, batch))[0, :, :, :count, :count]
        return Attention(tuple(self._inputs.tokenizer.names(batch["ids"][0, :count])), weights)


def _loaded(config: BertConfig) -> nnx.Module:
    """A model with its weights; of weights that lack a pooler the mean is taken."""
    model = nnx.eval_shape(lambda: config.build(nnx.Rngs(0)))
    if config.load(model).missing:
        return _loaded(config.replace(pooling="mean"))
    return model
