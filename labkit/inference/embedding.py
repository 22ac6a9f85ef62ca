"""Text embedding: vectors of texts, near each other where the encoder finds the texts similar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.errors import ConfigError, WeightsError, nearest
from labkit.data.model_input import texts_of
from labkit.data.text.tokenizer import Tokenizer
from labkit.explain.explanation import AttentionWeights
from labkit.i18n import _
from labkit.inference.pipeline import Pipeline
from labkit.inference.pretrained import config_of
from labkit.models import layers, models, weights
from labkit.models.base import Capability
from labkit.models.bert import sentence
from labkit.train.processors import TextProcessor


class EmbeddingPipeline(Pipeline):
    """An encoder that a run has trained, whatever its task, or pretrained weights of one ("minilm-l6",
    "e5-small").

    A text's vector is what the folder's modules of sentence-transformers make; without such modules the mean
    of the hidden states; of a run what its encoder pools.
    """

    pretrained = Capability.BIDIRECTIONAL

    def __init__(
        self, source: str | Path, device: jax.Device | None = None, plugins: Sequence[str] = (), dtype: str = "auto"
    ):  # fmt: skip
        self._modules: sentence.SentenceFolder | None = None
        super().__init__(source, device, plugins, dtype)
        self.processor = TextProcessor(self.tokenizer, self.max_length)
        self._pooled, self._looked = self.compiled(self._vectors), self.compiled(_attention)
        (batch,) = self.processor.to_predict(["a"])
        vectors = lambda state, batch: self._vectors(nnx.merge(self._graph, state), batch)  # noqa: E731
        self.width = jax.eval_shape(vectors, self._state, batch).shape[1]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: vectors of {self.width}>"

    def _check(self, folder: str) -> None:
        if Capability.BIDIRECTIONAL not in self.experiment.model.capabilities:
            raise WeightsError(
                _("{folder!r} contains a {model}; embeddings need an encoder: {encoders}."), folder=folder,
                model=models.name_of(self.experiment.model),
                encoders=", ".join(each for each in models if Capability.BIDIRECTIONAL in models[each].capabilities),
            )  # fmt: skip

    def _load_weights(self, name: str) -> Any:
        """An encoder without a pooler: vectors are made by the modules in its folder, or are the mean."""
        folder = weights.find(name)
        self._modules = sentence.read(folder)
        config = self._precise(config_of(name, Capability.BIDIRECTIONAL, pooling="mean"))
        model = nnx.eval_shape(lambda: config.build(nnx.Rngs(0)))
        config.load(model)
        self.tokenizer = Tokenizer.load(folder if self._modules is None else self._modules.encoder)
        self.max_length = model.config.max_length
        if self._modules is not None:
            self.max_length = min(self.max_length, self._modules.max_length or self.max_length)
        return model

    def _vectors(self, model: nnx.Module, batch: dict[str, Any]) -> jax.Array:
        made = model(batch["ids"], batch["mask"], batch["types"])
        if self._modules is None:
            return made.pooled
        found = made.pooled
        if poolings := self._modules.pooling:
            found = jnp.concatenate(
                [layers.pool(made.hidden, batch["mask"], how) for how in poolings], axis=1
            )
        for layer in self._modules.layers:
            found = layer(found)
        return found

    @property
    def prompts(self) -> Mapping[str, str]:
        """Name → text that the folder wants in front of a text of that kind ("query" → "query: ")."""
        return {} if self._modules is None else self._modules.prompts

    def embed(self, texts: str | Sequence[str], prompt: str | None = None) -> np.ndarray:
        """Vectors of length 1, f32 [n, d]; of a single text f32 [d].

        Args:
            texts: a list of texts, or one.
            prompt: name of one of :attr:`prompts`; by default the one that the folder names as its usual one.
                Some encoders want words that their folder does not give: "query: " for "e5-small", which is
                yours to write.

        Raises:
            ConfigError: there is no such prompt.
        """
        if isinstance(texts, str):
            return self.embed([texts], prompt)[0]
        texts = [self._prompt(prompt) + self.clean(text) for text in texts_of(texts, _("text"))]
        if self._modules is not None and self._modules.lowercase:
            texts = [text.lower() for text in texts]
        found = np.zeros((len(texts), self.width), np.float32)
        for start, batches in self._batches(texts):
            for index, vectors in self._results(self._pooled, batches):
                found[start + index] = vectors
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)

    __call__ = embed

    def _prompt(self, name: str | None) -> str:
        if name is None:
            name = "" if self._modules is None else self._modules.prompt
        if not name:
            return ""
        if name not in self.prompts:
            known = ", ".join(self.prompts) or "none"
            raise ConfigError(
                _("unknown prompt {name!r}.{hint} This folder has: {known}."),
                name=name, hint=nearest(name, self.prompts), known=known,
            )  # fmt: skip
        if self._modules is not None and not self._modules.include_prompt and self.prompts[name]:
            raise ConfigError(
                _("this folder excludes prompt tokens from pooling (include_prompt = false), which "
                  "labkit does not support: embed without the prompt {name!r}, with prompt=''."),
                name=name,
            )  # fmt: skip
        return self.prompts[name]

    def similarity(self, texts: Sequence[str], others: Sequence[str] | None = None) -> np.ndarray:
        """Cosines of the vectors of n texts with those of m others (or with their own), f32 [n, m]."""
        ours = self.embed(texts)
        return ours @ (ours if others is None else self.embed(others)).T

    def attention(self, text: str, pair: str | None = None) -> AttentionWeights:
        """The attention of every layer and head over the tokens of a text, or of two read together."""
        (batch,) = self.processor.to_predict([text], None if pair is None else [pair])
        count = int(batch["mask"][0].sum())
        shares = jax.device_get(self._looked(batch))[0, :, :, :count, :count]
        return AttentionWeights(tuple(self.tokenizer.names(batch["ids"][0, :count])), shares)


def _attention(model: Any, batch: dict[str, Any]) -> jax.Array:
    return model.attention(batch["ids"], batch["mask"], batch["types"])
