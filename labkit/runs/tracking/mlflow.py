"""Metrics in MLflow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from labkit.core.errors import DataError
from labkit.core.extras import require
from labkit.i18n import _
from labkit.runs.store import RunInfo
from labkit.runs.tracking.base import TrackedRun, Tracker, records_of, tag_of
from labkit.train.logger import Record

#: The experiment of MLflow that runs are written to; metrics and parameters in a request at most.
EXPERIMENT, METRICS, PARAMETERS = "labkit", 1000, 100
#: The tag with the id of the run in labkit.
TAG = "labkit.run"
#: What MLflow does not allow in the name of a metric or parameter.
_FORBIDDEN = re.compile(r"[^/\w.\- :]")


class MlflowTracker(Tracker):
    """A run of the experiment ``labkit`` at a tracking URI, such as ``sqlite:///mlflow.db`` or the address of a
    server. An earlier export of the same run is deleted. MLflow stores an infinite value as the greatest float64.
    """

    extra = "mlflow"

    def __init__(self, info: RunInfo, settings: dict[str, Any], target: str):
        require(self.extra)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient(target or None)
        found = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = self._client.create_experiment(EXPERIMENT) if found is None else found.experiment_id
        for earlier in self._client.search_runs([experiment], f"tags.`{TAG}` = '{info.id}'"):
            self._client.delete_run(earlier.info.run_id)
        run = self._client.create_run(
            experiment, int(1000 * (info.started or info.created)), {TAG: info.id}, info.name
        )
        self._id = run.info.run_id
        self.place = f"{target or 'MLflow'}, {EXPERIMENT}/{info.name}"
        given = [Param(_FORBIDDEN.sub("_", name), str(value)[:500]) for name, value in settings.items()]
        for start in range(0, len(given), PARAMETERS):
            self._client.log_batch(self._id, params=given[start : start + PARAMETERS])

    def write(self, records: Sequence[Record]) -> None:
        from mlflow.entities import Metric

        values = [
            Metric(_FORBIDDEN.sub("_", tag_of(each)), each.value, int(1000 * each.time), each.step)
            for each in records
        ]
        for start in range(0, len(values), METRICS):
            self._client.log_batch(self._id, values[start : start + METRICS])

    def close(self, finished: bool) -> None:
        self._client.set_terminated(self._id, "FINISHED" if finished else "FAILED")

    @classmethod
    def read(cls, target: str) -> Iterator[TrackedRun]:
        """The runs of all experiments at a tracking URI."""
        require(cls.extra)
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        client = MlflowClient(target or None)
        try:
            for experiment in client.search_experiments():
                for run in client.search_runs([experiment.experiment_id]):
                    points = [
                        (each.key, each.step, each.value, each.timestamp / 1000)
                        for key in run.data.metrics
                        for each in client.get_metric_history(run.info.run_id, key)
                    ]
                    name = run.info.run_name or run.info.run_id
                    yield TrackedRun(run.info.run_id, name, records_of(points), run.info.status == "FINISHED")
        except MlflowException as error:
            raise DataError(_("MLflow cannot read {target!r}: {error}"), target=target, error=error) from None
