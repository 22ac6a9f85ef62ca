"""Write ``kept/``: the export of every case, and what transformers and sentence-transformers answered for it.

    python -m tests.inference.exports.make [NAME …]

Run it after a change of what is exported, with the packages of the extra "peers"; look at the difference before it is
committed.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

from .cases import CASES, export
from .theirs import answers

KEPT = Path(__file__).parent / "kept"


def main(names: list[str]) -> None:
    for name in names or CASES:
        with tempfile.TemporaryDirectory() as folder:
            _, made = export(CASES[name], Path(folder))
            shutil.rmtree(KEPT / name, ignore_errors=True)
            said = answers(CASES[name], made)
            shutil.copytree(
                made, KEPT / name, ignore=shutil.ignore_patterns("labkit.toml", "labkit-manifest.json")
            )
            text = json.dumps(said, ensure_ascii=False, indent=1)
            (KEPT / name / "answers.json").write_text(text + "\n", encoding="utf-8")
            print(name)


if __name__ == "__main__":
    main(sys.argv[1:])
