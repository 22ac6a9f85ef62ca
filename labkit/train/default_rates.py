"""Default learning rate and batch size by architecture, task, trained parameters and optimizer."""

from __future__ import annotations

import fnmatch

from labkit.models.base import ModelConfig
from labkit.tasks.base import Task
from labkit.train.optimizer import Optimizer

#: Learning rate of an update rule ÷ that of AdamW. Lion's updates are all of size 1 (3 to 10 times smaller
#: rates, Chen et al., arXiv 2302.06675); Adafactor's are relative to the size of a parameter; those of SGD
#: are as small as the gradients; Muon's are scaled to the size of AdamW's. Those of a rule of one's own are
#: taken to be of that size too.
BY_RULE = {"adamw": 1.0, "lion": 0.2, "adafactor": 10.0, "sgd": 30.0, "muon": 1.0}


#: Examples in one step.
BATCH = 32


def default_batch(model: ModelConfig, task: Task) -> int:
    """The default batch size: that of the task for new weights, :data:`BATCH` for pretrained ones."""
    return BATCH if model.weights else task.fresh_batch


def with_rate(optimizer: Optimizer, model: ModelConfig, task: Task) -> Optimizer:
    """``optimizer`` with the default learning rate where it has none."""
    if optimizer.learning_rate is not None:
        return optimizer
    return optimizer.replace(learning_rate=default_rate(optimizer, model, task))


def default_rate(optimizer: Optimizer, model: ModelConfig, task: Task) -> float:
    """The default learning rate for ``model`` on ``task``, to two digits; what ``optimizer`` trains and its
    rule decide, its own rate does not."""
    rates = model.rates
    if _head_alone(optimizer, model.layers):
        rate = rates.head
    elif optimizer.trainable in ("lora", "bitfit"):
        rate = rates.added
    else:
        rate = rates.pretrained if model.weights else rates.fresh * task.fresh_rate_factor
        rate *= rates.width / model.output_width if rates.width else 1.0
    return float(f"{rate * task.rate_factor * BY_RULE.get(optimizer.algorithm, 1.0):.2g}")


def _head_alone(optimizer: Optimizer, depth: int) -> bool:
    """Whether only the layers above the backbone are trained, however that was chosen."""
    whole = any(fnmatch.fnmatch("backbone/\0", pattern) for pattern in optimizer.freeze)
    return optimizer.trainable == "head" or whole or optimizer.freeze_layers >= max(depth, 1)
