"""What panels import late is imported here, on the main thread.

The hook that checks shapes parses each module, and Python 3.11 cannot parse in two threads at once.
"""

from __future__ import annotations

import labkit.app.steps.model  # noqa: F401
from labkit.models import models
from labkit.tasks import tasks

for registry in (models, tasks):
    for name in registry:
        registry[name]
