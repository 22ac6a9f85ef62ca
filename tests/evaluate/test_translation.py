"""BLEU and chrF++ equal sacrebleu's; paired intervals, the translation memory and new sources equal slow counts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import sacrebleu

import labkit as lk
from labkit.core.errors import DataError
from labkit.evaluate import translation
from labkit.evaluate import translation_metrics as metrics
from labkit.evaluate.translation import MEMORY, TranslationMemory, TranslationReport

CHINESE = list("选择当前行，或将现有「选区」扩展到 Calc 3.5% “a” – … 。")
ENGLISH = (
    "The quick brown fox (jumps), over 3.5 % of the lazy dog's - tail; A-1 x. &quot;y&quot; ok ! (hi) a."
)


def some(units: list[str], joint: str, random: np.random.Generator, count: int) -> list[str]:
    return [joint.join(random.choice(units, random.integers(0, 9))) for _ in range(count)]


@pytest.mark.parametrize(
    ("units", "joint", "tokenizer"), [(CHINESE, "", "zh"), (ENGLISH.split(), " ", "13a")]
)
def test_bleu_and_chrf_are_those_of_sacrebleu(units, joint, tokenizer):
    random = np.random.default_rng(0)
    bleu, chrf = sacrebleu.BLEU(tokenize=tokenizer), sacrebleu.CHRF(word_order=2)
    for _ in range(120):
        truth = some(units, joint, random, int(random.integers(1, 6)))
        other = some(units, joint, random, len(truth))
        found = [a if random.random() < 0.5 else b for a, b in zip(truth, other, strict=True)]
        sums = metrics.bleu_statistics(found, truth, tokenizer).sum(0)
        assert float(metrics.bleu(sums)) == pytest.approx(bleu.corpus_score(found, [truth]).score, abs=1e-9)
        sums = metrics.chrf_statistics(found, truth).sum(0)
        assert float(metrics.chrf(sums)) == pytest.approx(chrf.corpus_score(found, [truth]).score, abs=1e-9)
    assert metrics.tokenizer_for(["".join(units)]) == tokenizer


@pytest.fixture(scope="module")
def report() -> TranslationReport:
    random = np.random.default_rng(1)
    truth = [text or "x" for text in some(CHINESE, "", random, 40)]
    sources = [f"source {number % 25}" for number in range(40)]
    outputs = [text if random.random() < 0.4 else text[::-1] for text in truth]
    memory = [text if random.random() < 0.3 else "行" for text in truth]
    known = [f"Source  {number}" for number in range(10)]  # equal but for case and space
    return TranslationReport(outputs, truth, sources, known, {MEMORY: memory})


def test_gains_are_those_of_resampling_the_same_rows_of_both(report, monkeypatch):
    monkeypatch.setattr(translation, "RESAMPLES", 40)
    assert report.leaked == 20 and report.parts == ("all", "new") and report.tokenizer == "zh"
    scorers = {"chrf": sacrebleu.CHRF(word_order=2), "bleu": sacrebleu.BLEU(tokenize="zh")}
    new = np.flatnonzero(~report.in_train)
    for metric, scorer in scorers.items():

        def score(texts, rows, scorer=scorer):
            return scorer.corpus_score([texts[r] for r in rows], [[report.references[r] for r in rows]]).score

        mine, theirs = report.outputs, report.systems[MEMORY]
        gain, low, high = report.gain(metric=metric, part="new")
        assert gain == pytest.approx(score(mine, new) - score(theirs, new), abs=1e-9)
        draws = np.random.default_rng(0).multinomial(len(new), np.full(len(new), 1 / len(new)), size=40)
        repeated = [np.repeat(new, times) for times in draws]
        gains = [score(mine, rows) - score(theirs, rows) for rows in repeated]
        assert [low, high] == pytest.approx(list(np.percentile(gains, [2.5, 97.5])), abs=1e-9)
        alone = report.interval(metric, part="new")
        assert alone[0] < report.score(metric, part="new") < alone[1]
        assert report.compare(report, metric) == (0.0, 0.0, 0.0)
    found, intervals = report.scores()
    assert found["new_memory_chrf_gain"] == report.gain(part="new")[0] and found["sources_in_train"] == 20
    assert intervals["bleu"] == report.interval("bleu") and len(report.table()) == 4
    assert report.to_pandas()["chrf"].is_monotonic_increasing and "20" in repr(report)
    assert report.signature == f"BLEU {_signature(scorers['bleu'])}; chrF2++ {_signature(scorers['chrf'])}"


def _signature(scorer) -> str:
    scorer.corpus_score(["x"], [["x"]])
    return scorer.get_signature().format().rpartition("|version")[0]


def test_the_translation_memory_finds_the_source_with_the_most_common_grams():
    sources = ["open the file", "close the window", "打开文件", "关闭窗口"]
    memory = TranslationMemory(sources, ["1", "2", "3", "4"])
    assert memory.translate(["open a file", "窗口关闭", "the window closes", "zzz"]) == ["1", "4", "2", "1"]
    assert memory.nearest(sources)[1] == pytest.approx(np.ones(4))


def test_a_large_model_translates_a_sample_of_many_rows():
    table = [{"a": f"source {number}", "b": f"target {number}"} for number in range(700)]
    rows = lk.load(table, text=("a", "b"), label=False).split(test=300, validation=0, seed=0)
    calls = []

    def translate(texts, **settings):
        calls.append((len(texts), settings))
        return [text.replace("source", "target") for text in texts]

    model = SimpleNamespace(parameters=30_000_000, room=31, max_length=16, translate=translate)
    found = translation.translation_report(model, rows, beams=2)
    assert calls == [(200, {"max_new_tokens": 16, "beams": 2})] and found.sampled == 300
    assert found.score() == 100 and "random sample of 200 of 300 rows" in repr(found)
    wanted = TranslationMemory(rows["train"]["text"], rows["train"]["text_pair"]).translate(found.sources)
    assert found.systems[MEMORY] == wanted and found.leaked == 0 and found.parts == ("all",)
    small = SimpleNamespace(parameters=1000, room=31, max_length=None, translate=translate)
    assert len(translation.translation_report(small, rows, baselines=False).rows) == 300


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((["a"], ["a", "b"]), "1 source texts but 2 target texts"),
        (([], []), "0 source texts but 0 target texts"),
        ((["a"], [3]), "target text 0 is 3, a int; a string is needed"),
    ],
)
def test_what_cannot_be_compared_is_refused(given, said):
    with pytest.raises(DataError, match=said):
        TranslationReport(*given)


def test_settings_that_do_not_exist_are_refused(report):
    with pytest.raises(DataError, match="unknown part 'old'"):
        report.score(part="old")
    with pytest.raises(DataError, match=r"unknown tokenizer 'ja' of BLEU\. Known: 13a, zh"):
        TranslationReport(["a"], ["a"], tokenizer="ja")
    with pytest.raises(DataError, match="compare the same rows"):
        report.compare(TranslationReport(["a"], ["a"]))
    with pytest.raises(DataError, match="contain no text"):
        lk.TranslationMemory([""], ["a"])
