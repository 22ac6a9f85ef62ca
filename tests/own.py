"""An architecture and a task of a user's own, as text: tests write them to a temporary module and register them."""

MODEL = '''
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from labkit.core.config import option
from labkit.models.base import Modality, ModelConfig, DrawingPart
from labkit.models.layers import Rates


class Pooled(NamedTuple):
    pooled: jax.Array


@dataclass(frozen=True, init=False)
class WaveConfig(ModelConfig):
    """A layer of sines."""

    modality: ClassVar[Modality] = Modality.FEATURES
    rates: ClassVar[Rates] = Rates(fresh=1e-2)
    depth: ClassVar[int] = 1
    first_preset: ClassVar[str] = "little"
    shown: ClassVar[tuple[str, ...]] = ("width", "frequency")
    drawing: ClassVar[tuple[DrawingPart, ...]] = (DrawingPart("waves", 4, "block_dense", 4),)
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"little": {"width": 16}, "wide": {"width": 64}}

    preset: str = option("", "named size", choices=("", "little", "wide"))
    width: int = option(16, "number of sines", low=1)
    frequency: float = option(1.0, "factor before the sine", low=0.0)
    input_shape: tuple[int, ...] | None = option(None, "shape of one example")
    dtype: str = option("auto", "what layers compute in")

    def build(self, rngs: nnx.Rngs) -> "Wave":
        return Wave(self, rngs)


class Wave(nnx.Module):
    def __init__(self, config: WaveConfig, rngs: nnx.Rngs):
        self.config = config
        (features,) = config.input_shape or (1,)
        self.waves = nnx.Linear(features, config.width, rngs=rngs)

    def __call__(self, inputs: jax.Array, *, key: jax.Array | None = None, real: Any = None) -> Pooled:
        return Pooled(jnp.sin(self.config.frequency * self.waves(inputs.astype(jnp.float32))))

    def layer_ids(self, path: tuple[str, ...]) -> int:
        return 1
'''

TASK = '''
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.config import option
from labkit.models.base import Modality
from labkit.tasks.base import Head, MetricState, ProblemType, Task


@dataclass(frozen=True)
class Margin(Task):
    """Classification by the largest margin (Crammer & Singer 2001)."""

    problem_type: ClassVar[ProblemType] = ProblemType.CLASS
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.FEATURES, Modality.IMAGE)
    shown: ClassVar[tuple[str, ...]] = ("margin",)

    margin: float = option(1.0, "least difference between the score of a class and the others", low=0.0)

    def build(self, classes, labels, tokenizer=None, target=None):
        return MarginHead(self, classes=classes)

    def restore(self, classes, tokenizer=None):
        return MarginHead(self, classes=classes)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class MarginSums(MetricState):
    loss_sum: jax.Array
    weight: jax.Array
    right: jax.Array

    def compute(self) -> dict[str, float]:
        host = jax.device_get(self)
        count = float(host.weight) or float("nan")
        return {"loss": float(host.loss_sum) / count, "accuracy": float(host.right) / count}


class Scores(nnx.Module):
    def __init__(self, backbone: Any, width: int, classes: int, rngs: nnx.Rngs):
        self.backbone = backbone
        self.head = nnx.Linear(width, classes, rngs=rngs)

    def __call__(self, batch: dict[str, Any], *, key: jax.Array | None = None) -> jax.Array:
        return self.head(self.backbone(batch["inputs"], key=key, real=batch["weight"] > 0).pooled)


@dataclass(frozen=True, eq=False)
class MarginHead(Head):
    config: Margin

    monitor: ClassVar[str] = "accuracy"
    train_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    def init(self, model, rngs):
        return Scores(model.build(rngs), model.output_width, len(self.classes), rngs)

    def empty(self):
        return MarginSums(*jnp.zeros((3,), jnp.float32))

    def loss(self, module, batch, key):
        scores, label, weight = module(batch, key=key), batch["label"], batch["weight"]
        own = jax.nn.one_hot(label, len(self.classes))
        losses = jnp.max(scores + self.config.margin * (1 - own), -1) - jnp.sum(scores * own, -1)
        total, right = jnp.sum(losses * weight), jnp.sum((jnp.argmax(scores, -1) == label) * weight)
        return total, jnp.sum(weight), MarginSums(total, jnp.sum(weight), right)

    def predict(self, module, batch):
        return jax.nn.softmax(module(batch))
'''

REBUILD = '''
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from labkit.models.base import Modality
from labkit.tasks.base import Head, MetricState, Task


@dataclass(frozen=True)
class Rebuild(Task):
    """Predict the features themselves; rows need no labels."""

    modalities: ClassVar[tuple[Modality, ...]] = (Modality.FEATURES,)

    def build(self, classes, labels, tokenizer=None, target=None):
        return RebuildHead(self)

    def restore(self, classes, tokenizer=None):
        return RebuildHead(self)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Squares(MetricState):
    loss_sum: jax.Array
    weight: jax.Array

    def compute(self) -> dict[str, float]:
        host = jax.device_get(self)
        return {"loss": float(host.loss_sum) / (float(host.weight) or float("nan"))}


class Autoencoder(nnx.Module):
    def __init__(self, backbone: Any, width: int, features: int, rngs: nnx.Rngs):
        self.backbone = backbone
        self.head = nnx.Linear(width, features, rngs=rngs)


@dataclass(frozen=True, eq=False)
class RebuildHead(Head):
    def init(self, model, rngs):
        return Autoencoder(model.build(rngs), model.output_width, model.input_shape[0], rngs)

    def empty(self):
        return Squares(*jnp.zeros((2,), jnp.float32))

    def loss(self, module, batch, key):
        found = module.head(module.backbone(batch["inputs"], key=key, real=batch["weight"] > 0).pooled)
        total = jnp.sum(jnp.mean((found - batch["inputs"]) ** 2, -1) * batch["weight"])
        weight = jnp.sum(batch["weight"])
        return total, weight, Squares(total, weight)
'''
