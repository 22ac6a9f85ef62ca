"""Recommendation: interactions, histories, SASRec, the report by brute force, and one short run that tests read."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from flax import nnx
from typer.testing import CliRunner

import labkit as lk
from labkit.api import train
from labkit.app.steps.evaluate import Evaluate
from labkit.app.steps.predict import Predict
from labkit.cli.main import app
from labkit.core.errors import ConfigError, DataError
from labkit.data.batching.histories import HistoryBatches, HistoryWindows
from labkit.data.interactions import Histories
from labkit.evaluate.recommend import (
    Questions,
    RecommendReport,
    baseline_scores,
    interactions_of,
    questions_of,
)
from labkit.models.sasrec import SasRecConfig

ITEMS = 12


def table(users: int = 40, count: int = 15) -> pd.DataFrame:
    """Users walk round a circle of films, each from another place; those of later users are for validation and test."""
    random, lines = np.random.default_rng(0), []
    for user in range(users):
        film = int(random.integers(ITEMS))
        for step in range(count - 5):
            lines.append((f"u{user}", f"f{film}", f"Film {film}", 1000 * user + step))
            film = (film + (1 if random.random() < 0.9 else 2)) % ITEMS
    return pd.DataFrame(lines, columns=["who", "what", "called", "when"])


COLUMNS = {"user": "who", "item": "what", "time": "when", "title": "called"}
SETTINGS = {"epochs": 30, "batch_size": 8, "learning_rate": 1e-2, "least": 2}
SMALL = {"width": 16, "depth": 1, "heads": 2, "mlp_width": 32, "max_length": 8, "dropout": 0.0}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "films.csv"
    table().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def rows(file):
    return lk.load(file, **COLUMNS).split(validation=0.1, test=0.2)


@pytest.fixture(scope="module")
def run(rows, tmp_path_factory):
    model = lk.models["sasrec"](**SMALL)
    return lk.fit(rows, model, folder=tmp_path_factory.mktemp("lab"), background=False, **SETTINGS)


def test_interactions_are_ordered_split_by_time_and_counted_once():
    frame = pd.concat([table(4), table(4).iloc[[3]].assign(when=10**6)]).sample(frac=1, random_state=0)
    rows = lk.load(frame, **COLUMNS)
    part = rows["train"]
    assert part["time"] == sorted(part["time"]) and len(part) == len(
        {*zip(part["user"], part["item"], strict=True)}
    )
    again = len(frame) - len(part)
    assert rows.report.counts()["counted"]["same user and item, counted once"] == again >= 1
    split = rows.split(validation=0.2, test=0.2)
    ends = [(min(each["time"]), max(each["time"])) for each in split.splits.values()]
    assert ends[0][1] < ends[1][0] and ends[1][1] < ends[2][0]
    mixed = {"train": frame.iloc[:20], "test": frame.iloc[20:]}
    leaky = lk.load(
        {name: Dataset.from_pandas(each, preserve_index=False) for name, each in mixed.items()}, **COLUMNS
    )
    with pytest.raises(DataError, match="test begins before train ends"):
        lk.fit(leaky, "sasrec")


def test_what_makes_no_interactions_is_refused(rows, tmp_path):
    with pytest.raises(ConfigError, match="need the columns"):
        lk.load(table(2), user="who", item="what")
    with pytest.raises(ConfigError, match="leave text"):
        lk.load(table(2), **COLUMNS, label="called")
    with pytest.raises(DataError, match=r"no value \(1\): row 2"):
        lk.load(table(2).assign(what=lambda frame: frame["what"].where(frame.index != 2)), **COLUMNS)
    with pytest.raises(DataError, match="has no column 'nobody'"):
        lk.load(table(2), user="nobody", item="what", time="when")
    with pytest.raises(lk.LabkitError, match="0 items have 500 training interactions"):
        lk.fit(rows, "sasrec", least=500, background=False, folder=tmp_path)


def test_histories_are_cut_from_their_end_and_padded_in_front():
    histories = Histories(np.arange(1, 12, dtype=np.int32), np.arange(11.0), np.array([0, 8, 11]), ("a", "b"))
    pieces = HistoryWindows.over(histories, 3)
    assert sorted(pieces.items(np.arange(len(pieces))).tolist()) == [
        [0, 0, 1, 2], [0, 9, 10, 11], [2, 3, 4, 5], [5, 6, 7, 8]
    ]  # fmt: skip
    made = HistoryBatches(pieces, 2, seed=1, labelled_only=False)
    batch, again = made.at(5), HistoryBatches(pieces, 2, seed=1, labelled_only=False).at(5)
    assert all(np.array_equal(batch[name], again[name]) for name in batch)
    assert np.array_equal(batch["items"][:, 1:], batch["next"][:, :-1])


def test_sasrec_reads_no_later_item_and_no_padding():
    model = SasRecConfig(**SMALL, input_shape=(ITEMS,)).build(nnx.Rngs(0))
    one = np.array([[0, 0, 0, 3, 4, 5, 6, 7]], np.int32)
    found = np.asarray(model(jnp.asarray(one)))
    other = one.copy()
    other[0, -1] = 9
    assert np.asarray(model(jnp.asarray(other)))[0, 3:-1] == pytest.approx(found[0, 3:-1], abs=1e-5)
    short = np.asarray(model(jnp.asarray(one[:, 3:])))
    assert short[0] == pytest.approx(found[0, 3:], abs=1e-5)
    assert np.asarray(model.scores(jnp.asarray(found))).shape == (1, 8, 1 + ITEMS)


def test_the_report_by_brute_force():
    random = np.random.default_rng(0)
    items = 30
    histories = tuple(random.choice(items, 5, replace=False).astype(np.int32) + 1 for _each in range(20))
    wanted = tuple(
        np.sort(random.choice(np.setdiff1d(np.arange(1, items + 1), history), 3, replace=False))
        for history in histories
    )
    questions = Questions(tuple(map(str, range(20))), histories, wanted, items, 0, 0)
    scores = random.normal(size=(20, items)).round(1)  # with ties
    report = RecommendReport(questions, scores)
    ndcg, hit, recall, mrr, shown = [], [], [], [], set()
    for user in range(20):
        left = [item for item in range(items) if item + 1 not in histories[user]]
        ranked = sorted(left, key=lambda item: (-scores[user, item], item))
        gains = [1 / np.log2(place + 2) for place, item in enumerate(ranked[:10]) if item + 1 in wanted[user]]
        ndcg.append(sum(gains) / sum(1 / np.log2(place + 2) for place in range(3)))
        hit.append(bool(gains))
        recall.append(len(gains) / 3)
        mrr.append(1 / (1 + min(ranked.index(item - 1) for item in wanted[user])))
        shown |= set(ranked[:10])
    want = {"ndcg": ndcg, "hit": hit, "recall": recall, "mrr": mrr}
    for name, values in want.items():
        assert report.scores[name] == pytest.approx(np.mean(values)), name
    assert report.scores["coverage"] == len(shown) / items
    draws = np.random.default_rng(0).multinomial(20, np.full(20, 0.05), size=1000) @ np.array(ndcg) / 20
    assert report.intervals["ndcg"] == pytest.approx(np.percentile(draws, [2.5, 97.5]))
    better = RecommendReport(
        questions, scores + np.array([np.isin(np.arange(items), w - 1) * 9.0 for w in wanted])
    )
    line = better.compare({"other": report}).loc["other"]
    assert better.scores["ndcg"] == 1 and line["gain"] == pytest.approx(1 - report.scores["ndcg"])
    assert line["gain_low"] > 0 and report.with_baselines({"better": better}).verdict.startswith("Worse")


def test_baselines_by_loops():
    random = np.random.default_rng(0)
    dense = (random.random((25, 9)) < 0.4).astype(float)
    offsets = np.concatenate([[0], np.cumsum(dense.sum(1))]).astype(np.int64)
    histories = Histories(
        (np.nonzero(dense)[1] + 1).astype(np.int32), np.zeros(int(dense.sum())), offsets, tuple("x" * 25)
    )
    made = interactions_of(histories, 9)
    assert made.toarray().tolist() == dense.tolist()
    past = (np.array([2, 5], np.int32),)
    found = baseline_scores(made, past)
    assert found["popularity"][0].tolist() == dense.sum(0).tolist()

    def cosine(one: int, other: int) -> float:
        a, b = dense[:, one], dense[:, other]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    want = [sum(cosine(item, other) for other in (1, 4) if other != item) for item in range(9)]
    assert found["item neighbours"][0] == pytest.approx(want)
    # EASE: minimise |X - XB|² + ridge |B|² with a diagonal of 0, a column at a time
    ridge, ease = 0.5 * 25, np.zeros((9, 9))
    for item in range(9):
        rest = [other for other in range(9) if other != item]
        left = dense[:, rest]
        ease[rest, item] = np.linalg.solve(left.T @ left + ridge * np.eye(8), left.T @ dense[:, item])
    assert found["EASE"][0] == pytest.approx(ease[1] + ease[4])


def test_what_is_to_be_found_is_later_than_what_is_known(rows):
    questions = questions_of(rows, "test", {f"f{number}": number + 1 for number in range(ITEMS)})
    frame = table().drop_duplicates(["who", "what"])
    start = min(rows["test"]["time"])
    for user, history, wanted in zip(questions.users, questions.histories, questions.wanted, strict=True):
        mine = frame[frame["who"] == user].sort_values("when")
        numbers = [int(name[1:]) + 1 for name in mine["what"]]
        late = int((mine["when"] >= start).sum())
        cut = len(numbers) - max(1, int(0.2 * late))
        assert history.tolist() == numbers[:cut] and sorted(numbers[cut:]) == wanted.tolist()


def test_a_run_learns_what_comes_next(run):
    report = run.evaluate()
    assert (
        report.scores["hit"] == 1.0 and report.scores["ndcg"] > report.baselines["popularity"].scores["ndcg"]
    )
    assert "items to find among 12" in str(report) and "EASE" in str(report)
    assert run.info.summary["validation_loss"] < np.log(ITEMS)


def test_recommendations_have_titles_and_leave_out_what_was_chosen(run, file, tmp_path):
    found = run.recommend(["f1", "Film 2", "f3"], count=3)
    assert (
        found["item"].iloc[0] in ("f4", "f5")
        and found["title"].iloc[0] == f"Film {found['item'].iloc[0][1:]}"
    )
    assert not {"f1", "f2", "f3"} & set(found["item"]) and (found["probability"].diff().dropna() <= 0).all()
    pipeline = lk.RecommendPipeline(run.export(tmp_path / "model"))
    pd.testing.assert_frame_equal(pipeline(["f1", "f2", "f3"], 3), found)
    assert len(run.recommend(user="u1", count=5)) <= 5
    for call, said in (
        (lambda: run.recommend(["f1", "Film 222"]), r"does not know the item 'Film 222'\. Did you mean"),
        (lambda: run.recommend(user="me"), "have no user 'me'"),
        (lambda: run.recommend(), "give either items or a user"),
        (lambda: run.predict(["f1"]), r"run\.recommend\(items\)"),
    ):  # fmt: skip
        with pytest.raises(lk.LabkitError, match=said):
            call()


def test_the_command_recommends(run, tmp_path):
    lab, out = ["--folder", str(run.store.folder)], tmp_path / "films.csv"
    command = ["recommend", run.name, "--count", "3"]
    told = CliRunner().invoke(app, [*command, "--item", "f1", "--item", "Film 2", *lab])
    assert told.exit_code == 0, told.output
    assert told.output.splitlines()[0] == "item,title,probability"
    assert [line.split(",")[0] for line in told.output.splitlines()[1:]] == run.recommend(
        ["f1", "f2"], count=3
    )["item"].tolist()
    done = CliRunner().invoke(app, [*command, "--user", "u1", "--user", "u2", "--out", str(out), *lab])
    assert done.exit_code == 0 and set(pd.read_csv(out)["user"]) == {"u1", "u2"}
    folder = str(run.export(tmp_path / "model"))
    for arguments, words in (
        ([*command, *lab], "--item or --user"),
        ([*command, "--item", "f1", "--out", "x.json", *lab], "written as .csv"),
        (["recommend", folder, "--user", "u1"], "no rows"),
        ([*command, "--item", "f 1", *lab], "does not know the item"),
    ):
        refused = CliRunner().invoke(app, arguments)
        assert refused.exit_code == 2 and words in refused.output


def test_training_resumes_bit_for_bit_and_toml_gives_the_same_run(run, tmp_path, rows):
    (tmp_path / "experiment.toml").write_text(run.toml())
    again = train(tmp_path / "experiment.toml", folder=tmp_path / "other")
    assert again.info.summary["validation_loss"] == run.info.summary["validation_loss"]
    with pytest.raises(lk.LabkitError, match="the power was cut"):
        lk.fit(
            rows,
            lk.models["sasrec"](**SMALL),
            folder=tmp_path,
            background=False,
            callbacks=[Cut()],
            **SETTINGS,
        )
    (cut,) = lk.runs(tmp_path)
    cut.resume().wait(120)
    assert cut.info.summary["validation_loss"] == run.info.summary["validation_loss"]
    pd.testing.assert_frame_equal(cut.recommend(["f1"]), run.recommend(["f1"]), check_exact=True)


class Cut(lk.Callback):
    """Fails once, in the second half."""

    failed = False

    def on_step(self, progress, *more):
        if progress.step >= 60 and not Cut.failed:
            Cut.failed = True
            raise RuntimeError("the power was cut")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_panels_evaluate_and_recommend(run, language):
    evaluate = Evaluate(run, language=language)
    evaluate.settle(120)
    assert (
        evaluate.problem is None
        and "NDCG@10" in evaluate.scores.value
        and "EASE" in evaluate.conclusion.value
    )
    predict = Predict(run, language=language)
    predict.settle(120)
    predict.asking.items.value = "f1\nFilm 2"
    predict.go.click()
    predict.settle(60)
    assert predict.problem is None and "Film 3" in predict.answer.value
    assert "run.recommend(['f1', 'Film 2'])" in predict.code()
    predict.any.click()
    predict.settle(60)
    assert predict.problem is None and "run.recommend(user='u" in predict.code()
    for panel in (evaluate, predict):
        panel.close()
