"""A worker process: ``python labkit/benchmarks hf_worker`` reads its settings and its turns from standard input."""

import importlib
import importlib.util
import sys
from pathlib import Path

PACKAGE = "labkit_benchmarks"


def main() -> None:
    """Make this folder the package ``labkit_benchmarks``, wherever it lies, and run the worker that is named."""
    folder = Path(__file__).resolve().parent
    sys.path[:] = [path for path in sys.path if not path or Path(path).resolve() != folder]
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
    turns = importlib.import_module(f"{PACKAGE}.turns")
    turns.serve(lambda *given: importlib.import_module(f"{PACKAGE}.{sys.argv[1]}").work(*given))


if __name__ == "__main__":
    main()
