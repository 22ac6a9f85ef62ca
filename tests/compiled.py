"""How often JAX traces and compiles."""

from __future__ import annotations

from collections.abc import Callable

import jax.monitoring


def count_traces(work: Callable[[], object]) -> int:
    """How many functions JAX traces while ``work`` runs; a call whose program is there already traces none."""
    found: list[str] = []

    def heard(event: str, seconds: float, **details: object) -> None:
        if event.endswith("jaxpr_trace_duration"):
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
        work()
    finally:
        jax.monitoring.unregister_event_duration_listener(heard)
    return len(found)
