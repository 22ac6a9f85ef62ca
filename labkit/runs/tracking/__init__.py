"""Trackers: the metrics of runs written for other tools, and read from them.

The run store is the only record of a run; a tracker receives a copy of it, during training or afterwards.
"""

from __future__ import annotations

from labkit.core.registry import Registry

#: Name → its class (:class:`labkit.runs.tracking.base.Tracker`).
trackers = Registry(
    "tracker",
    {
        "csv": "labkit.runs.tracking.csv_file:CsvTracker",
        "tensorboard": "labkit.runs.tracking.tensorboard:TensorBoardTracker",
        "mlflow": "labkit.runs.tracking.mlflow:MlflowTracker",
        "trackio": "labkit.runs.tracking.trackio:TrackioTracker",
        "wandb": "labkit.runs.tracking.wandb:WandbTracker",
    },
    kind="trackers",
)
