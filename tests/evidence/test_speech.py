"""Speech recognition trained on synthetic voices, tested on other synthetic voices and on recordings of a person.

``python -m pytest -m soak tests/evidence/test_speech.py -s`` prints the figures. The gap between the two is the
subject: the model has never heard a person.
"""

from __future__ import annotations

import time

import pytest

import labkit as lk

#: Training rows and epochs.
ROWS, EPOCHS = 4000, 8
#: Beams of the search with the language model.
BEAMS = 8


@pytest.mark.soak
def test_digits_and_letters_of_a_person_are_recognised_from_synthetic_voices_alone(tmp_path):
    rows, begin = lk.load("spoken-words", rows=ROWS), time.monotonic()
    model = lk.models["conformer"](preset="tiny")
    run = lk.fit(
        rows,
        model,
        folder=tmp_path,
        background=False,
        epochs=EPOCHS,
        batch_size=16,
        buckets=1,
        learning_rate=2e-3,
    )
    minutes = (time.monotonic() - begin) / 60
    synthetic, human = (run.speech_report(split, beams=BEAMS) for split in ("synthetic", "test"))
    shown = [
        f"asr spoken-words | {run.info.summary['parameters']:,} parameters | {ROWS:,} rows | {minutes:.1f} min"
    ]
    for report in (synthetic, human):
        shown += [repr(report), str(report.edits()), report.confusions().to_string(index=False)]
    rates = [human.score("cer", "", group) for group in ("digits", "letters")]
    print("\n" + "\n".join(shown))
    assert max(rates) < 0.5, shown
    assert synthetic.score("cer") < 0.1, shown
    assert human.gain("nearest recording")[1] > 0, shown
    assert synthetic.score("cer") < human.score("cer"), shown
