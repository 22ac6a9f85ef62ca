"""The Transformer against an independent implementation, and what its callers rely on."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from safetensors.numpy import load_file

from labkit.core.errors import ConfigError
from labkit.models.seq2seq import layers
from labkit.models.seq2seq.model import Decoded, DecoderCache, Transformer, TransformerConfig

# More layers in one stack than in the other, so that mixing them up is seen.
SMALL = TransformerConfig(
    vocab_size=50, width=32, encoder_depth=3, decoder_depth=2, heads=4, mlp_width=48, max_length=24
)
SOURCES = [[7, 8, 9, 3], [5, 3], [*range(10, 20), 3]]
TARGETS = [[0, 11, 12], [0, 13, 14, 15, 16, 17, 18], [0]]


# The independent implementation: plain NumPy, float64, one pair at a time and never padded, names as in the file.


def reference(
    folder: Path, source: list[int], target: list[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Memory [s, d], hidden states of the decoder [t, d] and scores [t, v], from a folder alone."""
    w = {name: value.astype(np.float64) for name, value in load_file(folder / "model.safetensors").items()}
    config = json.loads((folder / "config.json").read_text())
    heads, first = config["decoder_attention_heads"], config["model_type"] == "pegasus"
    act = {
        "relu": lambda a: np.maximum(a, 0),
        "swish": lambda a: a / (1 + np.exp(-a)),
        "gelu": np.vectorize(lambda a: a * 0.5 * (1 + math.erf(a / math.sqrt(2)))),
    }[config["activation_function"]]

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def attention(x: np.ndarray, to: np.ndarray, name: str, causal: bool) -> np.ndarray:
        q, k, v = (
            np.stack(np.split(dense(y, f"{name}.{part}_proj"), heads, axis=-1))
            for y, part in zip((x, to, to), "qkv", strict=True)
        )
        odds = np.exp(q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1]))
        odds = np.tril(odds) if causal else odds
        return dense(np.concatenate(list(odds / odds.sum(-1, keepdims=True) @ v), -1), f"{name}.out_proj")

    def embedded(ids: list[int]) -> np.ndarray:
        d = config["d_model"]
        angle = [
            [place / 10000 ** (2 * (column // 2) / d) for column in range(d)] for place in range(len(ids))
        ]
        turns = np.where(np.arange(d) % 2, np.cos(angle), np.sin(angle))  # by turns, as in the paper
        return w["model.shared.weight"][ids] * math.sqrt(d) + np.concatenate(
            [turns[:, ::2], turns[:, 1::2]], 1
        )

    def stack(x: np.ndarray, side: str, memory: np.ndarray | None) -> np.ndarray:
        for i in range(config[f"{side}_layers"]):
            at = f"model.{side}.layers.{i}"
            work = [
                (
                    f"{at}.self_attn_layer_norm",
                    lambda y, at=at: attention(y, y, f"{at}.self_attn", side == "decoder"),
                )
            ]
            if memory is not None:
                across = f"{at}.encoder_attn"
                work.append(
                    (f"{across}_layer_norm", lambda y, across=across: attention(y, memory, across, False))
                )
            work.append(
                (f"{at}.final_layer_norm", lambda y, at=at: dense(act(dense(y, f"{at}.fc1")), f"{at}.fc2"))
            )
            for name, part in work:
                x = x + part(norm(x, name)) if first else norm(x + part(x), name)
        return norm(x, f"model.{side}.layer_norm") if first else x

    memory = stack(embedded(source), "encoder", None)
    hidden = stack(embedded(target), "decoder", memory)
    return memory, hidden, hidden @ w["model.shared.weight"].T + w["final_logits_bias"]


def padded(rows: list[list[int]], length: int) -> tuple[jax.Array, jax.Array]:
    """Rows of different length as ids i32[b, t] and mask bool[b, t]."""
    ids = np.zeros((len(rows), length), np.int32)
    for row, values in zip(ids, rows, strict=True):
        row[: len(values)] = values
    return jnp.asarray(ids), jnp.arange(length)[None] < jnp.asarray([[len(row)] for row in rows])


@partial(jax.jit, static_argnums=0)
def compiled(graph: nnx.GraphDef, params: nnx.State, *batch: jax.Array, key: jax.Array | None) -> tuple:
    model = nnx.merge(graph, params)
    out = model(*batch, key=key)
    return out, model.logits(out.hidden)


def run(model: Transformer, *batch: jax.Array, key: jax.Array | None = None) -> tuple[Decoded, jax.Array]:
    """A compiled call; models of one structure share the compilation."""
    return compiled(*nnx.split(model), *batch, key=key)


@partial(jax.jit, static_argnums=0)
def started(graph: nnx.GraphDef, params: nnx.State, memory: jax.Array, mask: jax.Array) -> DecoderCache:
    return nnx.merge(graph, params).start(memory, mask, 9)


@partial(jax.jit, static_argnums=0)
def stepped(
    graph: nnx.GraphDef, params: nnx.State, ids: jax.Array, count: jax.Array, cache: DecoderCache
) -> tuple[jax.Array, DecoderCache]:
    return nnx.merge(graph, params).step(ids, count, cache)


def abstract(config: TransformerConfig) -> Transformer:
    """A model of shapes."""
    return nnx.eval_shape(lambda: config.build(nnx.Rngs(0)))


def noisy(config: TransformerConfig, seed: int = 0) -> Transformer:
    """A model whose every parameter, norms and biases too, is away from its initial value."""
    random, (graph, shapes) = np.random.default_rng(seed), nnx.split(abstract(config))
    values = [
        (
            path,
            leaf.replace(jnp.asarray((path[-1] == "scale") + random.normal(0, 0.2, leaf.shape), jnp.float32)),
        )
        for path, leaf in nnx.to_flat_state(shapes)
    ]
    return nnx.merge(graph, nnx.from_flat_state(values))


def like(model: Transformer, **changes: object) -> Transformer:
    """A model with the same parameters and other settings."""
    return nnx.merge(nnx.graphdef(abstract(model.config.replace(**changes))), nnx.state(model))


@pytest.fixture(scope="module")
def models() -> dict[bool, Transformer]:
    """By whether they normalise first."""
    return {first: noisy(SMALL.replace(norm_first=first, output_bias=not first)) for first in (False, True)}


@pytest.fixture(scope="module")
def batch() -> tuple[jax.Array, ...]:
    return *padded(SOURCES, 12), *padded(TARGETS, 8)


either = pytest.mark.parametrize("first", [False, True], ids=["post-norm", "pre-norm"])


@either
def test_parity_on_random_weights(
    first: bool, models: dict[bool, Transformer], batch: tuple, tmp_path: Path
) -> None:
    model = models[first]
    model.config.save(model, tmp_path)
    (hidden, memory), logits = run(model, *batch)
    for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        expected = reference(tmp_path, source, target)
        for ours, theirs in zip((memory, hidden, logits), expected, strict=True):
            assert ours.dtype == jnp.float32
            np.testing.assert_allclose(ours[row, : len(theirs)], theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("activation", ["swish", "gelu"])
def test_other_activations_are_those_of_their_names(activation: str, batch: tuple, tmp_path: Path) -> None:
    model = noisy(SMALL.replace(activation=activation, encoder_depth=1, decoder_depth=1))
    model.config.save(model, tmp_path)
    hidden = run(model, *batch)[0].hidden
    np.testing.assert_allclose(hidden[1, :7], reference(tmp_path, SOURCES[1], TARGETS[1])[1], atol=1e-5)


def test_positions_are_those_of_the_paper_with_the_sines_before_the_cosines() -> None:
    table = layers.sinusoids(300, 6)
    assert table.shape == (300, 6) and table.dtype == np.float32
    for place, wave in ((0, 0), (7, 1), (299, 2)):
        angle = place / 10000 ** (2 * wave / 6)
        assert table[place, [wave, 3 + wave]] == pytest.approx([math.sin(angle), math.cos(angle)], abs=1e-6)
    assert layers.sinusoids(4, 5).shape == (4, 5)


# Sizes.


def parameters(v: int, d: int, m: int, encoder: int, decoder: int) -> int:
    """By hand: attention has four kernels and biases, a norm two vectors, the feed-forward part two layers."""
    attention, norm, mlp = 4 * (d * d + d), 2 * d, d * m + m + m * d + d
    return v * d + encoder * (attention + mlp + 2 * norm) + decoder * (2 * attention + mlp + 3 * norm)


@pytest.mark.parametrize(
    ("preset", "exact", "published"), [("base", 63_082_496, 65e6), ("big", 214_245_376, 213e6)]
)
def test_published_sizes(preset: str, exact: int, published: float) -> None:
    config = TransformerConfig(preset=preset)
    d = config.width
    assert config.count() == exact == parameters(37_000, d, 4 * d, 6, 6)
    assert exact == pytest.approx(
        published, rel=0.03
    )  # table 3; no vocabulary gives both of its numbers exactly


def test_what_the_options_add() -> None:
    plain = SMALL.count()
    assert plain == parameters(50, 32, 48, 3, 2)
    assert SMALL.replace(norm_first=True).count() == plain + 2 * 2 * 32
    assert SMALL.replace(output_bias=True).count() == plain + 50
    assert SMALL.replace(vocab_size=51).count() == plain + 32
    assert SMALL.replace(max_length=500).count() == plain  # positions are no parameters


def test_initial_values() -> None:
    config = SMALL.replace(width=64, vocab_size=500, norm_first=True)
    state = nnx.to_pure_dict(jax.jit(lambda: nnx.state(config.build(nnx.Rngs(0))))())
    kernels = state["decoder"]["cross"]["query"]["kernel"]
    assert kernels.shape == (2, 64, 64) and (kernels[0] != kernels[1]).any(), "layers must not start equal"
    for values, size in ((kernels, 0.02 * (768 / 64) ** 0.5), (state["word"]["embedding"], 64**-0.5)):
        assert float(values.std()) == pytest.approx(size * 0.8796, rel=0.03)
    assert not state["encoder"]["mlp_in"]["bias"].any() and (state["decoder_norm"]["scale"] == 1).all()


def test_two_models_of_one_config_have_equal_structure() -> None:
    graphs = [nnx.graphdef(abstract(SMALL)) for _ in range(2)]
    assert graphs[0] == graphs[1] and hash(graphs[0]) == hash(graphs[1])


def test_the_program_does_not_grow_with_depth(batch: tuple) -> None:
    def lines(depth: int) -> int:
        model = noisy(SMALL.replace(encoder_depth=depth, decoder_depth=depth))
        return str(jax.make_jaxpr(lambda key: model(*batch, key=key))(jax.random.key(0))).count("\n")

    assert lines(2) == lines(5)


# What depends on what.


@either
def test_a_target_token_changes_nothing_before_it(
    first: bool, models: dict[bool, Transformer], batch: tuple
) -> None:
    source, source_mask, target, mask = batch
    base = run(models[first], *batch)[0].hidden
    other = run(models[first], source, source_mask, target.at[1, 4].set(40), mask)[0].hidden
    np.testing.assert_array_equal(base[1, :4], other[1, :4])
    assert (abs(base[1, 4:7] - other[1, 4:7]).max(axis=1) > 1e-3).all()  # … and everything from there on
    np.testing.assert_array_equal(base[0, :3], other[0, :3])


def test_every_source_token_reaches_every_target_token(models: dict[bool, Transformer], batch: tuple) -> None:
    source, *rest = batch
    base = run(models[False], *batch)[0]
    for column in (0, 3):
        other = run(models[False], source.at[0, column].set(40), *rest)[0]
        assert (abs(base.hidden[0, :3] - other.hidden[0, :3]).max(axis=1) > 1e-4).all()
        assert (abs(base.memory[0, :4] - other.memory[0, :4]).max(axis=1) > 1e-4).all()


@either
def test_padding_changes_nothing_at_real_tokens(
    first: bool, models: dict[bool, Transformer], batch: tuple
) -> None:
    source, source_mask, target, mask = batch
    (hidden, memory), _ = run(models[first], *batch)
    (again, memory_again), _ = run(
        models[first], jnp.where(source_mask, source, 17), source_mask, jnp.where(mask, target, 18), mask
    )
    np.testing.assert_array_equal(jnp.where(mask[..., None], hidden - again, 0), 0)
    np.testing.assert_array_equal(jnp.where(source_mask[..., None], memory - memory_again, 0), 0)
    alone = run(models[first], *padded(SOURCES[:1], 4), *padded(TARGETS[:1], 3))[0]
    np.testing.assert_allclose(alone.hidden[0], hidden[0, :3], atol=5e-6)
    np.testing.assert_allclose(alone.memory[0], memory[0, :4], atol=5e-6)


def test_encode_is_the_memory_of_a_call(models: dict[bool, Transformer], batch: tuple) -> None:
    memory = jax.jit(lambda ids, mask: models[True].encode(ids, mask))(*batch[:2])
    np.testing.assert_allclose(memory, run(models[True], *batch)[0].memory, atol=2e-6)


# Decoding with a cache.


@either
def test_cached_decoding_equals_the_full_call(
    first: bool, models: dict[bool, Transformer], batch: tuple
) -> None:
    """Rows of 3, 7 and 1 tokens: prompts of 2, 5 and 1, then one by one; a row that has ended waits."""
    split, mask = nnx.split(models[first]), batch[1]
    (expected, memory), _ = run(models[first], *batch)
    cache = started(*split, memory, mask)
    assert cache.keys.shape == cache.values.shape == (2, 3, 9, 4, 8)
    assert cache.memory_keys.shape == (2, 3, 12, 4, 8)
    counts, done = np.array([2, 5, 1]), np.zeros(3, np.int32)
    width = 5
    while counts.any():
        ids = np.full((3, width), 29, np.int32)  # whatever stands at padding
        for row, count in enumerate(counts):
            ids[row, :count] = TARGETS[row][done[row] : done[row] + count]
        hidden, cache = stepped(*split, jnp.asarray(ids), jnp.asarray(counts, jnp.int32), cache)
        assert np.isfinite(hidden).all() and hidden.dtype == jnp.float32
        for row, count in enumerate(counts):
            wanted = expected[row, done[row] : done[row] + count]
            np.testing.assert_allclose(hidden[row, :count], wanted, atol=5e-6)
        done = done + counts
        np.testing.assert_array_equal(cache.used, done)
        counts = np.minimum([len(target) for target in TARGETS] - done, 1)
        width = 1
    assert done.tolist() == [3, 7, 1]
    for kept in (cache.keys, cache.values):  # nothing was written beyond what is real
        for row, count in enumerate(done):
            assert kept[:, row, :count].any(axis=(2, 3)).all() and not kept[:, row, count:].any()


def test_a_row_that_runs_over_its_cache_gives_nan_and_the_others_go_on(
    models: dict[bool, Transformer], batch: tuple
) -> None:
    split = nnx.split(models[False])
    memory = run(models[False], *batch)[0].memory
    cache = started(*split, memory, batch[1])._replace(used=jnp.array([9, 8, 0], jnp.int32))
    # The second column is padding, in the middle row beyond the cache.
    hidden, _ = stepped(*split, jnp.full((3, 2), 5), jnp.array([1, 1, 1]), cache)
    assert np.isnan(hidden[0, 0]).all() and np.isfinite(hidden[1:]).all()


def test_too_long_rows_are_refused(models: dict[bool, Transformer]) -> None:
    model, ids = models[False], jnp.ones((1, 25), jnp.int32)
    said = r"rows of 25 tokens exceed max_length = 24.*Truncate the texts to 24"
    few = ids[:, :3]
    for pair in ((ids, few), (few, ids)):
        with pytest.raises(ConfigError, match=said):
            jax.eval_shape(lambda a, b: model(a, a > 0, b, b > 0), *pair)
    with pytest.raises(ConfigError, match=said):
        jax.eval_shape(lambda memory, mask: model.start(memory, mask, 25), jnp.zeros((1, 3, 32)), few > 0)


# Chance, precision, gradients.


def test_dropout_is_a_function_of_the_key(models: dict[bool, Transformer], batch: tuple) -> None:
    model = like(models[True], attention_dropout=0.2)
    plain, one, again, other = (
        run(model, *batch, key=None if seed is None else jax.random.key(seed))[0] for seed in (None, 1, 1, 2)
    )
    np.testing.assert_array_equal(plain.hidden, run(models[True], *batch)[0].hidden)
    np.testing.assert_array_equal(one.hidden, again.hidden)
    for part in ("hidden", "memory"):
        values = [getattr(out, part) for out in (plain, one, other)]
        assert abs(values[1] - values[2]).max() > 1e-3 and abs(values[1] - values[0]).max() > 1e-3


def test_no_random_number_is_compiled_without_a_key_or_a_rate(
    models: dict[bool, Transformer], batch: tuple
) -> None:
    def program(model: Transformer, key: jax.Array | None) -> str:
        return str(jax.make_jaxpr(lambda key: model(*batch, key=key))(key))

    still = like(models[False], dropout=0.0)
    # Every draw takes the words of its key: see labkit/models/dropout.py.
    draws = {
        rates: program(like(still, **dict(rates)), jax.random.key(0)).count("random_unwrap")
        for rates in RATES
    }
    # Each layer once in its scan: 2 embeddings, 2 and 3 sums; 1 and 2 attentions, which have a rate of their own.
    assert list(draws.values()) == [0, 7, 3]
    assert "random" not in program(models[False], None)


RATES = ((("dropout", 0.0),), (("dropout", 0.1),), (("attention_dropout", 0.1),))


def test_computing_in_sixteen_bits(models: dict[bool, Transformer], batch: tuple) -> None:
    short = like(models[False], dtype="bfloat16")
    (hidden, memory), logits = run(short, *batch)
    assert hidden.dtype == memory.dtype == logits.dtype == jnp.float32
    difference = abs(jnp.where(batch[3][..., None], hidden - run(models[False], *batch)[0].hidden, 0)).max()
    assert 0 < difference < 0.2
    cache = jax.eval_shape(lambda: short.start(memory, batch[1], 5))
    assert {leaf.dtype.name for leaf in cache[:4]} == {"bfloat16"}


def test_mixed_products_are_close(models: dict[bool, Transformer], batch: tuple) -> None:
    logits = run(like(models[False], dtype="mixed"), *batch)[1]
    difference = abs(jnp.where(batch[3][..., None], logits - run(models[False], *batch)[1], 0)).max()
    assert 0 < difference < 0.05 * abs(logits).max()


@either
def test_gradients_are_finite_and_reach_every_parameter(first: bool, models: dict[bool, Transformer]) -> None:
    graph, params = nnx.split(like(models[first], remat=first))
    ids = jnp.asarray([[2, 5, 6, 3], [2, 0, 0, 0], [0, 0, 0, 0]])
    mask = jnp.asarray(
        [[True] * 4, [True, False, False, False], [False] * 4]
    )  # the last row has no token at all

    def loss(params: nnx.State, key: jax.Array | None = None) -> jax.Array:
        model = nnx.merge(graph, params)
        logits = model.logits(model(ids, mask, ids[:, :3], mask[:, :3], key=key).hidden)
        return (jax.nn.log_softmax(logits) * jnp.arange(50.0)[None, None]).sum()

    with jax.numpy_rank_promotion("raise"):
        gradients = nnx.to_pure_dict(jax.jit(jax.grad(loss))(params))
        jax.eval_shape(jax.grad(loss), params, jax.random.key(0))  # with dropout, traced only
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert jnp.isfinite(gradient).all(), path
        # a bias of the keys moves all scores of a query alike, which softmax does not see
        assert jax.tree_util.keystr(path).endswith("['key']['bias']") or gradient.any(), path


def test_loops_are_laid_out_and_computed_again_as_told(models: dict[bool, Transformer], batch: tuple) -> None:
    model = like(models[False], unroll=2, remat=True)
    program = str(jax.make_jaxpr(model)(*batch))
    assert program.count("unroll=2") == 2 and program.count("prevent_cse=False") == 2
    assert "unroll=2" not in str(jax.make_jaxpr(models[False])(*batch))
    memory, ones = jnp.zeros((3, 12, 32)), jnp.ones(3, jnp.int32)
    cached = jax.make_jaxpr(lambda: model.step(batch[2], ones, model.start(memory, batch[1], 9)))()
    assert str(cached).count("unroll=2") == 1


def test_it_learns_to_copy() -> None:
    """A loss far under that of a guess, which no decoder reaches without looking at the source."""
    pieces, length, start = 12, 6, 0
    config = SMALL.replace(vocab_size=pieces, encoder_depth=1, decoder_depth=1, mlp_width=64, dropout=0.0)
    graph, params = nnx.split(config.build(nnx.Rngs(0)))
    adam = optax.adam(3e-3)
    mask = jnp.ones((64, length), bool)

    @jax.jit
    def train(params: nnx.State, key: jax.Array) -> jax.Array:
        def loss(params: nnx.State, ids: jax.Array) -> jax.Array:
            model, shifted = (
                nnx.merge(graph, params),
                jnp.pad(ids[:, :-1], ((0, 0), (1, 0)), constant_values=start),
            )
            logits = model.logits(model(ids, mask, shifted, mask).hidden)
            return optax.softmax_cross_entropy_with_integer_labels(logits, ids).mean()

        def step(state: tuple, key: jax.Array) -> tuple[tuple, jax.Array]:
            params, memory = state
            ids = jax.random.randint(key, (64, length), 1, pieces)
            value, gradient = jax.value_and_grad(loss)(params, ids)
            change, memory = adam.update(gradient, memory)
            return (optax.apply_updates(params, change), memory), value

        return jax.lax.scan(step, (params, adam.init(params)), jax.random.split(key, 300))[1]

    losses = train(params, jax.random.key(1))
    guess = math.log(pieces - 1)
    assert losses[0] > 0.9 * guess and losses[-10:].mean() < 0.3 * guess, losses[::30]


def test_layer_ids_follow_the_way_of_the_signal() -> None:
    model = abstract(SMALL.replace(norm_first=True, output_bias=True))
    ids = {path: model.layer_ids(path) for path, _ in nnx.to_flat_state(nnx.state(model))}
    by_part: dict[str, set[tuple[int, ...]]] = {}
    for path, value in ids.items():
        assert np.asarray(value).dtype.kind == "i"
        by_part.setdefault(path[0], set()).add(tuple(np.atleast_1d(value).tolist()))
    assert by_part == {
        "word": {(0,)},
        "encoder": {(1, 2, 3)},
        "encoder_norm": {(3,)},
        "decoder": {(4, 5)},
        "decoder_norm": {(5,)},
        "output_bias": {(6,)},
    }
    assert SMALL.depth == 5
