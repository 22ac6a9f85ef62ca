"""Default learning rate, batch size and epochs by architecture, task, trained parameters, optimizer and rows."""

from __future__ import annotations

import fnmatch
import math

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
#: Epochs by default: so many, or as many as make this number of optimizer steps, but no more than the last.
EPOCHS, FEWEST_STEPS, MOST_EPOCHS = 3, 300, 100


def default_batch(model: ModelConfig, task: Task) -> int:
    """The default batch size: that of the task for new weights, :data:`BATCH` for pretrained ones."""
    return BATCH if model.weights else task.fresh_batch


def default_epochs(rows: int, batch_size: int, task: Task) -> int:
    """The default number of epochs for so many training rows: with few rows, three epochs would be too few
    steps to learn from. Running text counts by its tokens, which are not known here."""
    if task.example_format.running or not rows:
        return EPOCHS
    steps = max(1, math.ceil(rows / batch_size))
    return max(EPOCHS, min(MOST_EPOCHS, math.ceil(FEWEST_STEPS / steps)))


def with_rate(optimizer: Optimizer, model: ModelConfig, task: Task) -> Optimizer:
    """``optimizer`` with the default learning rate where it has none."""
    if optimizer.learning_rate is not None:
        return optimizer
    return optimizer.replace(learning_rate=default_rate(optimizer, model, task))


def default_rate(optimizer: Optimizer, model: ModelConfig, task: Task) -> float:
    """The default learning rate for ``model`` on ``task``, to two digits; what ``optimizer`` trains and its
    rule decide, its own rate does not."""
    rates = model.rates
    if head_alone(optimizer, model.layers):
        rate = rates.head
    elif optimizer.trainable in ("lora", "bitfit"):
        rate = rates.added
    else:
        rate = rates.pretrained if model.weights else rates.fresh * task.fresh_rate_factor
        rate *= rates.width / model.output_width if rates.width else 1.0
    return float(f"{rate * task.rate_factor * BY_RULE.get(optimizer.algorithm, 1.0):.2g}")


def head_alone(optimizer: Optimizer, depth: int) -> bool:
    """Whether only the layers above the backbone are trained, however that was chosen."""
    whole = any(fnmatch.fnmatch("backbone/\0", pattern) for pattern in optimizer.freeze)
    return optimizer.trainable == "head" or whole or optimizer.freeze_layers >= max(depth, 1)
