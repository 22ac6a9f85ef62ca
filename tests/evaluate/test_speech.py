"""Error rates by jiwer, alignments, paired gains, and the nearest recording by dynamic time warping written out."""

from __future__ import annotations

import jiwer
import numpy as np
import pytest

from labkit.core.errors import DataError
from labkit.data.transcripts import normalised
from labkit.evaluate.edit_distance import aligned, counts
from labkit.evaluate.speech import NearestRecording, SpeechReport
from tests.shown import shown_html

SAID = ["one two three", "four", "five six", "seven eight nine ten", "a b"]
READ = ["one too three", "", "five six six", "seven nine ten", "a b"]


def test_error_rates_are_those_of_jiwer():
    report = SpeechReport(READ, SAID)
    assert report.score("cer") == pytest.approx(jiwer.cer(SAID, READ))
    assert report.score("wer") == pytest.approx(jiwer.wer(SAID, READ))
    found = jiwer.process_words(SAID, READ)
    edits = report.edits("wer")
    assert edits == {
        "substitutions": found.substitutions, "deletions": found.deletions, "insertions": found.insertions,
        "length": 12,
    }  # fmt: skip
    low, high = report.interval("cer")
    assert low < report.score("cer") < high


def test_random_alignments_have_the_fewest_edits():
    random = np.random.default_rng(0)
    for _trial in range(50):
        said, read = ("".join(random.choice(list("abc"), random.integers(low, 9))) for low in (1, 0))
        edits = aligned(said, read)
        assert (
            "".join(each.truth for each in edits) == said and "".join(each.answer for each in edits) == read
        )
        assert counts(edits)[:3].sum() == round(jiwer.cer(said, read) * len(said)) and counts(edits)[
            3
        ] == len(said)
    kinds = [each.kind for each in aligned("kitten", "sitting")]
    assert kinds == ["substitution", "same", "same", "same", "substitution", "same", "insertion"]


def test_groups_gains_and_confusions():
    others = {"most frequent transcript": ["four"] * 5}
    report = SpeechReport(READ, SAID, others, groups=["x", "y", "x", "x", "y"], rows=[7, 8, 9, 10, 11])
    scores, intervals = report.scores()
    assert scores["cer/x"] == pytest.approx(
        jiwer.cer([SAID[n] for n in (0, 2, 3)], [READ[n] for n in (0, 2, 3)])
    )
    gain, low, high = report.gain("most frequent transcript")
    assert gain == pytest.approx(scores["baseline_cer"] - scores["cer"]) and low < gain < high
    assert intervals["baseline_cer_gain"] == (low, high)
    frame = report.to_pandas()
    assert frame["row"].iloc[0] == 8 and frame["deletions"].iloc[0] == 4 and list(frame["cer"])[-1] == 0
    assert set(report.confusions("wer")["kind"]) == {"substitution", "deletion", "insertion"}
    assert "most frequent transcript" in shown_html(report) and "5 sounds" in repr(report)
    for given, match in (
        ((READ[:2], SAID), "2 transcripts for 5 sounds"),
        ((["a"], ["?!"]), "has no word"),
        (([], []), "transcripts for 0 sounds"),
    ):
        with pytest.raises(DataError, match=match):
            SpeechReport(*given)
    with pytest.raises(DataError, match="unknown group 'z'"):
        report.score("cer", "", "z")


def test_transcripts_in_their_usual_form():
    assert normalised("Login incorrect.  Please — enter!") == "login incorrect please enter"
    assert normalised("It’s 'quoted' o'clock") == "it's quoted o'clock"
    assert normalised("你好，世界。") == "你好 世界" and normalised("...") == ""


def test_the_nearest_recording_is_that_of_dynamic_time_warping():
    random = np.random.default_rng(0)
    recordings = [random.normal(size=(length, 3)).cumsum(0).astype(np.float32) for length in (8, 13, 20)]
    nearest = NearestRecording(recordings, ["a", "b", "c"])
    stretched = np.repeat(recordings[1], 2, axis=0)
    assert nearest.transcribe([recordings[2], stretched]) == ["c", "b"]

    def halved(x):
        return x[: len(x) // 2 * 2].reshape(-1, 2, 3).mean(1)

    new = random.normal(size=(11, 3)).astype(np.float32)
    for found, each in zip(nearest.distances(new), recordings, strict=True):
        x, y = halved(new), halved(each)
        table = np.full((len(x) + 1, len(y) + 1), np.inf)
        table[0, 0] = 0
        for i in range(1, len(x) + 1):
            for j in range(1, len(y) + 1):
                before = min(table[i - 1, j], table[i, j - 1], table[i - 1, j - 1])
                table[i, j] = before + np.linalg.norm(x[i - 1] - y[j - 1])
        assert found == pytest.approx(table[-1, -1] / (len(x) + len(y)), rel=1e-4)
