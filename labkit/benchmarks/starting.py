"""Start-up: seconds until the package is imported, the help of the command line is shown, JupyterLab is started."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

#: Name → code of a new process.
STARTS = {
    "python": "pass",
    "import_labkit": "import labkit",
    "help": "import sys; sys.argv = ['labkit', '--help']; from labkit.cli.main import main; main()",
    "train_help": "import sys; sys.argv = ['labkit', 'train', '--help']; from labkit.cli.main import main; main()",
    "load": "import labkit as lk; lk.load",
    # All that comes before this process becomes JupyterLab.
    "lab": "import tempfile, pathlib; from labkit.cli import lab; folder = pathlib.Path(tempfile.mkdtemp());"
           "lab.copy_notebooks(lab.tutorials(), folder); lab.lab_command(folder, [])",
}  # fmt: skip


def seconds(repeats: int = 5) -> dict[str, Any]:
    """Median seconds of each start, in turns; ``value`` is that of the help."""
    taken: dict[str, list[float]] = {name: [] for name in STARTS}
    for _ in range(repeats):
        for name, code in STARTS.items():
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
            taken[name].append(time.perf_counter() - begin)
    found = {name: statistics.median(values) for name, values in taken.items()}
    return {"value": found["help"], **found}
