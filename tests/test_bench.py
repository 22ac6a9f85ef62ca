"""The benchmarks' machinery: the driver's protocol, the arithmetic of ratios and of FLOPs, the messages. No timing."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from safetensors.numpy import save_file
from typer.testing import CliRunner

from labkit.cli import bench
from labkit.cli.main import app
from labkit.core.errors import ConfigError, LabkitError

driver, turns = bench.module("driver"), bench.module("turns")
FOLDER = Path(driver.__file__).parent

#: A worker whose clock is its own counting: every step takes ``pace`` seconds, so it says.
STEADY = """
import json, sys
settings = json.loads(sys.stdin.readline())
print(json.dumps({"ready": {"pid": 1, **settings}}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if asked.get("end"):
        break
    n = asked["steps"]
    print(json.dumps({"seconds": n * settings["pace"], "steps": n, "tokens": 10 * n, "examples": n}), flush=True)
"""


def fake(tmp_path: Path, source: str, settings: dict[str, Any], **more: Any) -> Any:
    path = tmp_path / f"worker_{len(list(tmp_path.iterdir()))}.py"
    path.write_text(source)
    return driver.Worker("fake", settings, command=[sys.executable, str(path)], **more)


def test_workers_take_turns_and_the_ratio_is_that_of_their_rates(tmp_path: Path) -> None:
    with fake(tmp_path, STEADY, {"pace": 0.25}) as ours, fake(tmp_path, STEADY, {"pace": 1.0}) as peer:
        assert ours.about == {"pid": 1, "pace": 0.25}
        pairs = driver.paired(ours, peer, pairs=5, steps=3, warm=2)
    assert len(pairs) == 5 and pairs[0][0] == {"seconds": 0.75, "steps": 3, "tokens": 30, "examples": 3}
    found = driver.compare(pairs, "tokens")
    assert found["value"] == found["overall"] == 4 and found["quartiles"] == (4, 4)
    assert (found["ours"], found["peer"], found["pairs"], found["unit"]) == (40, 10, 5, "tokens")


def test_the_median_of_pairs_is_not_moved_by_a_moment_that_was_slow_for_both() -> None:
    def pair(slow: float, ratio: float) -> tuple[dict[str, float], dict[str, float]]:
        return {"seconds": slow, "steps": 2}, {"seconds": slow * ratio, "steps": 2}

    pairs = [pair(slow, ratio) for slow, ratio in [(1, 2.0), (50, 3.0), (1, 4.0), (1, 3.5), (9, 2.5)]]
    found = driver.compare(pairs)
    assert found["value"] == 3.0 and found["quartiles"] == pytest.approx((2.5, 3.5))
    assert found["ours"] == 2 and found["overall"] == pytest.approx(sum((2, 150, 4, 3.5, 22.5)) / 62)


def test_quartiles_of_one_value_are_that_value() -> None:
    assert driver.quartiles([2.0]) == (2.0, 2.0)


@pytest.mark.parametrize(("count", "place"), [(5, 0), (6, 0), (9, 1), (20, 5), (200, 85)])
def test_the_lower_end_of_the_interval_of_a_median(count: int, place: int) -> None:
    """Ranks of the tables of the sign test: of 20 values the sixth, of 200 the 86th."""
    values = np.random.default_rng(0).permutation(count).astype(float).tolist()
    assert driver.lower_bound(values) == place
    if count >= 6:
        at_most = scipy.stats.binom(count, 0.5).cdf
        assert at_most(place) <= 0.025 < at_most(place + 1)


def test_a_worker_that_dies_is_told_with_the_end_of_its_standard_error(tmp_path: Path) -> None:
    source = STEADY.replace('n = asked["steps"]', 'sys.exit("no memory left for step 7")')
    ended = r"fake ended without an answer \(exit code 1\)"
    with fake(tmp_path, source, {"pace": 1.0}) as worker, pytest.raises(LabkitError, match=ended) as caught:
        worker.turn(1)
    assert "no memory left for step 7" in str(caught.value)


def test_a_worker_that_says_nothing_is_given_up_and_ended(tmp_path: Path) -> None:
    with pytest.raises(LabkitError, match="fake gave no answer in 0 s"):
        fake(tmp_path, "import time; time.sleep(60)", {}, patience=0.2)


def test_an_interpreter_that_is_not_there() -> None:
    with pytest.raises(LabkitError, match="cannot start /no/python: No such file"):
        driver.Worker("torch_worker", {}, python="/no/python")


def test_a_missing_peer_says_what_to_install(tmp_path: Path) -> None:
    """The real entry of a worker, in an interpreter for which the peer's package is not there."""
    source = f"""
import runpy, sys
sys.modules["torch"] = None
sys.argv = [{str(FOLDER)!r}, "torch_worker"]
sys.path.insert(0, {str(FOLDER)!r})
runpy.run_path({str(FOLDER / "__main__.py")!r}, run_name="__main__")
"""
    with pytest.raises(LabkitError) as caught:
        fake(tmp_path, source, {"case": "mlp"})
    assert "needs the package 'torch'" in str(caught.value) and "pip install 'labkit[peers]'" in str(
        caught.value
    )


def test_what_a_library_prints_does_not_come_between_the_answers(tmp_path: Path) -> None:
    source = f"""
import sys
sys.path.insert(0, {str(FOLDER)!r})
import turns, os
def work(told, settings):
    print("a library is chatty"); os.system("echo and its child too")
    told.prepare = lambda steps: seen.append(steps)
    told.more = lambda: {{"seen": list(seen)}}
    seen = []
    told.ready(got=settings)
    while True:
        told.passed(tokens=7, examples=2, steps=2)
turns.serve(work)
"""
    with fake(tmp_path, source, {"case": "x"}) as worker:
        assert worker.about == {"got": {"case": "x"}}
        answer = worker.turn(3)  # two steps at a time: it stops after the fourth
        assert {k: answer[k] for k in ("steps", "tokens", "examples", "seen")} == {
            "steps": 4, "tokens": 14, "examples": 4, "seen": [3],
        }  # fmt: skip
        assert worker.turn(1)["steps"] == 2


def test_the_best_variant_is_found_by_keeping_the_better_half() -> None:
    calls: list[str] = []
    speed = {"a": 1.0, "b": 4.0, "c": 3.0, "d": 2.0}

    def trial(name: str) -> Any:
        return lambda: calls.append(name) or speed[name]

    assert turns.best({name: trial(name) for name in speed}) == ("b", speed)
    assert calls == ["a", "b", "c", "d", "b", "c"]


# --- arithmetic ------------------------------------------------------------------------------------------


def test_own_arithmetic_of_a_bert_by_hand() -> None:
    model = SimpleNamespace(depth=2, width=4, mlp_width=8, pooling="cls")
    # Each token: query, key, value, out 4 · 16, feed-forward 2 · 32, so 128; 5 tokens. Attention: scores and mixture,
    # 4 · n² each: 8 · (4 + 9). Two layers. For each of 2 examples a pooler of 16 and a head of 12.
    forward = 2 * (5 * 128 + 8 * 13) + 2 * (16 + 12)
    assert bench.module("arithmetic").of_bert(model, 3, np.array([2, 3])) == 3 * 2 * forward


def test_own_arithmetic_agrees_with_xla_on_a_model_that_is_nothing_but_products() -> None:
    d, m, n = 4, 8, 3
    weights = {"q": (d, d), "k": (d, d), "v": (d, d), "o": (d, d), "i": (d, m), "u": (m, d), "head": (d, 5)}
    shapes = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in weights.items()}

    def forward(w: Any, x: Any) -> Any:
        mixed = ((x @ w["q"]) @ (x @ w["k"]).T) @ (x @ w["v"])
        return (((mixed @ w["o"]) @ w["i"]) @ w["u"])[:1] @ w["head"]

    x = jax.ShapeDtypeStruct((n, d), jnp.float32)
    xla = jax.jit(forward).lower(shapes, x).cost_analysis()["flops"]
    model = SimpleNamespace(depth=1, width=d, mlp_width=m, pooling="mean")
    assert bench.module("arithmetic").of_bert(model, 5, np.array([n])) == 3 * xla


def test_lengths_of_examples_in_rows_of_their_own_and_in_shared_rows() -> None:
    lengths_of, real = bench.module("arithmetic").lengths_of, bench.module("cases").real
    mask = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0]], bool)
    alone = {"mask": mask, "index": np.array([4, 0, -1])}
    assert lengths_of(alone).tolist() == [3, 2] and real(alone) == (5, 2)
    shared = {
        "segment": np.array([[1, 1, 2, 2, 2, 0], [1, 0, 0, 0, 0, 0]]),
        "start": np.array([[0, 2], [0, 0]]),
        "index": np.array([[3, 1], [2, -1]]),
    }
    assert lengths_of(shared).tolist() == [2, 3, 1] and real(shared) == (6, 3)
    assert real({"inputs": np.zeros((2, 4)), "index": np.array([0, -1])}) == (0, 1)


@pytest.mark.samples
@pytest.mark.parametrize(("name", "shape"), [("mlp", (32, 8, 8, 1)), ("cnn", (32, 32, 32, 3))])
def test_a_case_is_prepared_as_a_run_would_be(name: str, shape: tuple[int, ...]) -> None:
    cases = bench.module("cases")
    with cases.prepared(name) as case:
        assert cases.width(case.batches.at(0)) == shape and cases.real(case.batches.at(0)) == (0, 32)
        assert "head" in " ".join(case.params)


def test_bytes_that_a_program_moves() -> None:
    """Of a product and a sum, and of a loop over stacked layers, each slice of which is read and written once."""

    def layers(x: Any, stack: Any) -> Any:
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, stack)[0]

    moved = bench.module("traffic").moved
    text = jax.jit(lambda a, b: a @ b).lower(jnp.ones((64, 32)), jnp.ones((32, 16))).compile().as_text()
    assert moved(text, 1) == 4 * (64 * 32 + 32 * 16 + 64 * 16)
    text = jax.jit(layers).lower(jnp.ones((64, 64)), jnp.ones((5, 64, 64))).compile().as_text()
    least = 5 * 4 * 64 * 64 * (1 + 3 + 1)  # a slice is read, a product of two made, and tanh written
    assert least <= moved(text, 5) <= 2.2 * least


def test_weights_are_counted_once_in_the_type_that_is_read(tmp_path: Path) -> None:
    save_file(
        {"a": np.zeros((3, 5), np.float32), "b": np.zeros(7, np.float16)}, tmp_path / "model.safetensors"
    )
    weight_bytes = bench.module("answering").weight_bytes
    assert (weight_bytes(tmp_path, "bfloat16"), weight_bytes(tmp_path, "float32")) == (44, 88)


def test_a_peer_at_its_best_groups_texts_by_length_and_tries_to_compile() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    code = (
        "import sys, json; sys.argv = ['x', 'turns']; sys.path.insert(0, sys.argv[0]);"
        "from labkit.benchmarks import hf_worker as w;"
        "print(json.dumps([w.variants_of({}), w.variants_of({'at_best': True})]))"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    usual, best = json.loads(told)
    assert {v["sampling"] for v in usual.values()} == {"random"} and not any(
        v["compiled"] for v in usual.values()
    )
    assert {v["sampling"] for v in best.values()} == {"group_by_length"}
    assert {v["compiled"] for v in best.values()} == {False, True}


def test_the_device_is_shown_with_its_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {
        "name": "BERT base", "rows": 64, "length": 512, "precision": "bfloat16", "tokens_per_second": 250_000.0,
        "mfu": 0.36, "memory_bytes": 3e10,
        "peer": [
            {"name": "eager", "tokens_per_second": 125_000.0, "mfu": 0.18, "memory_bytes": 2e10, "ratio": 2.0},
            {"name": "compiled", "left_out": "no C++ compiler"},
        ],
    }  # fmt: skip
    found = {
        "device": "H200", "settings": [row, {"name": "BERT large", "left_out": "no time left"}], "value": 0.36,
        "product_flops_per_second": 7e14, "data_sheet_flops_per_second": 9.89e14, "bytes_per_second": 4e12,
    }  # fmt: skip
    monkeypatch.setattr(bench.module("device"), "training", lambda say, python: found)
    shown = CliRunner().invoke(
        app, ["bench", "--device", "--json", str(tmp_path / "d.json")], env={"COLUMNS": "160"}
    )
    for part in (
        "250,000",
        "36.0%",
        "125,000",
        "no C++ compiler",
        "no time left",
        "989 T",
        "247 FLOP a byte",
    ):
        assert part in shown.stdout
    assert json.loads((tmp_path / "d.json").read_text())["device"] == found
    wrong = CliRunner().invoke(app, ["bench", "--device", "--peer", "hf"])
    assert wrong.exit_code == 2 and "--device is measured alone" in wrong.stderr


# --- figures, table, command --------------------------------------------------------------------------------


def test_bars() -> None:
    least, most = bench.Measurement("a", "", "x:y", least=3.0), bench.Measurement("b", "", "x:y", most=0.0)
    assert (least.bar, most.bar, bench.Measurement("c", "", "x:y").bar) == ("≥ 3", "≤ 0", "")
    assert least.met(3.0) and not least.met(2.99) and most.met(0) and not most.met(1)
    assert bench.Measurement("c", "", "x:y").met(5) is None


@pytest.mark.parametrize("figure", [*bench.ALONE, *bench.BESIDE.values()], ids=lambda figure: figure.name)
def test_every_figure_has_its_function(figure: Any) -> None:
    name, _, function = figure.where.partition(":")
    known = inspect.signature(getattr(bench.module(name), function)).parameters
    assert set(known) >= {*figure.arguments, *figure.takes.values()}


def test_a_function_with_several_figures_is_called_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def overhead(**given: Any) -> dict[str, Any]:
        calls.append(given)
        return {"value": 0.9, "quartiles": (0.8, 1.0), "transfers": 0, "compilations": 2}

    monkeypatch.setattr(bench.module("loop"), "overhead", overhead)
    said: list[str] = []
    wanted = bench.figures(names=["loop", "transfers", "compilations"])
    rows = list(bench.measure(wanted, said.append, pairs=9))
    assert calls == [{}] and len(said) == 1
    assert [(row["value"], row["met"]) for row in rows] == [(0.9, False), (0, True), (2, False)]
    assert "detail" in rows[0] and "detail" not in rows[1]
    made = bench.table(rows)
    assert [list(column.cells) for column in made.columns][2:] == [
        ["0.9", "0", "2"], ["0.8 – 1", "", ""], ["≥ 0.97", "≤ 0", "≤ 0"], ["missed", "met", "missed"],
    ]  # fmt: skip


def test_a_peer_gets_what_the_user_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(
        bench.module("throughput"), "compare_with_peer", lambda **more: given.append(more) or {"value": 3.5}
    )
    rows = list(bench.measure(bench.figures("hf", "bert"), lambda what: None, pairs=4, python="/p"))
    assert given == [{"peer": "hf", "case": "bert", "pairs": 4, "python": "/p"}] and rows[0]["met"] is True
    list(bench.measure(bench.figures("torch", "mlp"), lambda what: None, pairs=4, python=None))
    assert given[1] == {"peer": "torch", "case": "mlp", "pairs": 4}


def test_what_takes_minutes_is_measured_only_when_asked_for() -> None:
    assert "memory" not in {figure.name for figure in bench.figures()}
    assert [figure.name for figure in bench.figures(names=["memory"])] == ["memory"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"peer": "tortch"}, "unknown peer 'tortch'. Did you mean 'torch'"),
        (
            {"peer": "hf", "case": "mlp"},
            "unknown case 'mlp' for 'hf'. Available: bert, bert-best, classify, embed, generate, ",
        ),
        ({"case": "mlp"}, "--case mlp needs a peer: --peer torch."),
        ({"names": ["paddin"]}, "unknown figure 'paddin'. Did you mean 'padding'"),
    ],
)
def test_a_wrong_wish_is_explained(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bench.figures(**asked)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (3.14159, "3.14"), (0.02712, "0.0271"), (1540.4, "1,540"), (1.524e11, "152 G")],
)
def test_numbers_in_few_digits(value: float, text: str) -> None:
    assert bench.number(value) == text


def test_the_command_writes_a_table_and_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = {"value": 0.04, "shapes": [[8, 128]]}
    monkeypatch.setattr(bench.module("arithmetic"), "padding", lambda: result)
    shown = CliRunner().invoke(app, ["bench", "--figure", "padding", "--json", str(tmp_path / "b.json")])
    assert shown.exit_code == 0 and "0.04" in shown.stdout and "met" in shown.stdout
    written = json.loads((tmp_path / "b.json").read_text())
    assert written["figures"][0]["detail"] == result and written["machine"]["jax"] == jax.__version__
    piped = CliRunner().invoke(app, ["bench", "--figure", "padding", "--json", "-"])
    assert json.loads(piped.stdout)["figures"][0]["value"] == 0.04


def test_help_and_errors_of_the_command() -> None:
    shown = CliRunner().invoke(app, ["bench", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert shown.exit_code == 0 and all(
        word in shown.stdout for word in ("--peer", "--case", "--json", "--pairs")
    )
    wrong = CliRunner().invoke(app, ["bench", "--peer", "jax"])
    assert wrong.exit_code == 2 and "unknown peer 'jax'" in wrong.stderr


def test_workers_of_peers_know_nothing_of_labkit() -> None:
    for name in ("hf", "hf_answer", "hf_device", "keras", "torch"):
        assert "import labkit" not in (source := (FOLDER / f"{name}_worker.py").read_text()), name
        assert "from labkit" not in source, name
    code = (
        f"import sys; sys.path.insert(0, {str(FOLDER)!r}); import turns; assert 'labkit' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
