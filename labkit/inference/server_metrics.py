"""Metrics of an endpoint in the text format of Prometheus."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping

#: Media type of the text format.
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Upper bounds of the buckets of a histogram: seconds, and examples.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
EXAMPLES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

Labels = tuple[tuple[str, str], ...]


class LabelledCounter:
    """A sum for every combination of labels."""

    kind = "counter"

    def __init__(self, name: str, help: str):
        self.name, self.help = name, help
        self._values: dict[Labels, float] = {}
        self._lock = threading.Lock()

    def add(self, amount: float = 1, **labels: str) -> None:
        """Add to the sum with these labels."""
        key = tuple(labels.items())
        with self._lock:
            self._values[key] = self._values.get(key, 0) + amount

    def lines(self) -> list[str]:
        """The samples, a line each."""
        with self._lock:
            return [_sample(self.name, key, value) for key, value in self._values.items()]


class LabelledHistogram:
    """Counts of values in buckets, for every combination of labels."""

    kind = "histogram"

    def __init__(self, name: str, help: str, bounds: Iterable[float]):
        self.name, self.help, self._bounds = name, help, tuple(bounds)
        self._values: dict[Labels, tuple[list[int], list[float]]] = {}
        self._lock = threading.Lock()

    def observe(self, value: float, **labels: str) -> None:
        """Count a value."""
        key = tuple(labels.items())
        with self._lock:
            counts, total = self._values.setdefault(key, ([0] * (len(self._bounds) + 1), [0.0]))
            counts[bisect_left(self._bounds, value)] += 1
            total[0] += value

    def lines(self) -> list[str]:
        """The samples, a line each."""
        found = []
        with self._lock:
            for key, (counts, total) in self._values.items():
                below = 0
                for bound, count in zip((*self._bounds, "+Inf"), counts, strict=True):
                    below += count
                    found.append(_sample(f"{self.name}_bucket", (*key, ("le", str(bound))), below))
                found += [
                    _sample(f"{self.name}_sum", key, total[0]),
                    _sample(f"{self.name}_count", key, below),
                ]
        return found


class ServerMetrics:
    """The metrics of one endpoint."""

    def __init__(self) -> None:
        self.requests = LabelledCounter("labkit_http_requests_total", "Requests by path and status.")
        self.seconds = LabelledHistogram(
            "labkit_http_request_seconds", "Seconds from the connection to the response.", SECONDS
        )
        self.predictions = LabelledHistogram(
            "labkit_predict_seconds", "Seconds of a prediction of a batch.", SECONDS
        )
        self.batches = LabelledHistogram("labkit_batch_examples", "Examples per batch.", EXAMPLES)
        self.batched = LabelledCounter("labkit_batched_requests_total", "Requests that were predicted.")
        self.reloads = LabelledCounter("labkit_model_reloads_total", "Reloads of a model by result.")

    def text(self, gauges: Mapping[str, tuple[str, Mapping[Labels, float]]]) -> str:
        """Everything in the text format, with gauges: name → (help, labels → value now)."""
        lines: list[str] = []
        for each in (self.requests, self.seconds, self.predictions, self.batches, self.batched, self.reloads):
            lines += [f"# HELP {each.name} {each.help}", f"# TYPE {each.name} {each.kind}", *each.lines()]
        for name, (help, values) in gauges.items():
            lines += [f"# HELP {name} {help}", f"# TYPE {name} gauge"]
            lines += [_sample(name, key, value) for key, value in values.items()]
        return "\n".join([*lines, ""])


def _sample(name: str, labels: Labels, value: float) -> str:
    given = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"{name}{{{given}}} {value:.17g}" if given else f"{name} {value:.17g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
