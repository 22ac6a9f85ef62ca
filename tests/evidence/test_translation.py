"""English to Chinese on the help pages of LibreOffice, split by page, against a translation memory.

``LABKIT_EVIDENCE=FOLDER`` keeps the run there; a run that was stopped is then resumed from its last checkpoint.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import labkit as lk

NAME = "help-en-zh"


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Path:
    """A folder for runs, which LABKIT_EVIDENCE keeps."""
    return Path(os.environ.get("LABKIT_EVIDENCE") or tmp_path_factory.mktemp("lab"))


def trained(rows, model, folder, name, **options):
    """The run of this name in the folder: finished, resumed, or new."""
    if name in [run.name for run in lk.runs(folder)]:
        run = lk.open_run(name, folder)
        if run.info.status != "finished":
            run.resume()
            run.wait(100_000)
        return run
    return lk.fit(rows, model, name=name, folder=folder, background=False, accept_leakage=True, **options)


def test_a_small_transformer_beats_the_translation_memory_on_new_sources(lab, full, tell):
    rows = lk.load("libreoffice-help", max_words=0 if full else 12)
    rows = rows.split(group="page", stratify=False, seed=0, accept_leakage=True)
    sizes = {"encoder_depth": 3, "decoder_depth": 3, "width": 256, "heads": 4} if full else {"preset": "tiny"}
    model = lk.models["transformer"](norm_first=True, **sizes)
    begin = time.time()
    run = trained(
        rows, model, lab, f"{NAME}-{'full' if full else 'small'}", task="seq2seq", seed=0, batch_size=32,
        epochs=15 if full else 12, vocabulary=8000 if full else 4000, learning_rate=1e-3 if full else 2e-3,
    )  # fmt: skip
    minutes = (time.time() - begin) / 60
    tell(
        f"{len(rows['train']):,} pairs, {run.info.summary['parameters']:,} parameters, {minutes:.1f} min here"
    )
    for beams in (1, 4):
        report = run.translation_report(beams=beams)
        tell(f"beams {beams}: {report}")
        for part in report.parts:
            gain, low, high = report.gain(part=part)
            tell(f"  chrF++ gain over the translation memory, {part}: {gain:.2f} ({low:.2f} to {high:.2f})")
    assert report.gain(part=report.parts[-1])[0] > 0
