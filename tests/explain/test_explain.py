"""Explanations: they add up, agree with arithmetic by hand, point at the words that decide, compile once a shape."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import labkit as lk
from labkit.core.errors import ConfigError, DataError
from labkit.data.text.tokenizer import Tokenizer
from labkit.explain.attribution import Explainer, log_odds, words_of
from labkit.tasks.classify import Classifier
from labkit.train.processors import FeatureProcessor, ImageProcessor, TextProcessor
from tests.compiled import count_traces
from tests.shown import shown

TEXTS = ["a good film, truly good", "a bad film", "so very bad and dull", "the good and the bad"]
CLASSES = ("negative", "positive")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, vocab_size=100, min_frequency=1)


def classifier(name: str, seed: int = 0, scale: float = 8.0, **sizes: Any) -> Classifier:
    """An untrained classifier with a head large enough to have opinions."""
    config = lk.models[name](**sizes)
    module = Classifier(config.build(nnx.Rngs(seed)), config.width, 2, 0.0, rngs=nnx.Rngs(seed))
    module.head.kernel[...] = module.head.kernel[...] * scale
    return module


@pytest.fixture(scope="module")
def module(tokenizer: Tokenizer) -> Classifier:
    sizes = {"preset": "tiny", "width": 16, "depth": 2, "heads": 2, "mlp_width": 32, "max_length": 32}
    return classifier("bert", vocab_size=tokenizer.vocab_size, scale=30.0, **sizes)


@pytest.fixture(scope="module")
def bert(module: Classifier, tokenizer: Tokenizer) -> Explainer:
    return Explainer(module, CLASSES, TextProcessor(tokenizer, 32))


def batch_of(text: str, tokenizer: Tokenizer) -> dict[str, Any]:
    """The batch of this text alone, as the model reads it."""
    batch = TextProcessor(tokenizer, 32).to_predict([text]).at(0)
    return {name: jnp.asarray(value[:1]) for name, value in batch.items()}


def test_words_add_up_to_what_the_text_adds(bert: Explainer):
    found = bert.explain(TEXTS[0], target="positive")
    assert [word.text for word in found.words] == ["a", "good", "film", ",", "truly", "good"]
    assert abs(found.gap) < 1e-3 * max(1.0, abs(found.whole - found.empty)) and found.whole != found.empty
    other = bert.explain(TEXTS[0], target="negative")
    np.testing.assert_allclose(
        other.values, -found.values, atol=1e-4
    )  # of two classes, one is against the other
    assert sum(found.probability.values()) == pytest.approx(1)
    chance = found.probability["positive"]
    assert found.whole == pytest.approx(np.log(chance / (1 - chance)), abs=1e-3)


def test_one_point_is_the_gradient_at_the_middle_times_the_way(
    bert: Explainer, module: Classifier, tokenizer: Tokenizer
):
    found = bert.explain(TEXTS[1], target="positive", points=1)
    batch = batch_of(TEXTS[1], tokenizer)
    table = module.backbone.embeddings.word.embedding[...]
    special = np.isin(batch["ids"], [tokenizer.special(name) for name in ("[CLS]", "[SEP]", "[PAD]")])
    blank = np.where(special, batch["ids"], tokenizer.pad_id)

    def score(vectors):
        copy = nnx.merge(*nnx.split(module))
        copy.backbone.embeddings.word = lambda ids: vectors[None]  # a second way in: the vectors themselves
        return log_odds(copy(batch)[0], 1)

    end, start = table[batch["ids"][0]], table[blank[0]]
    want = (jax.grad(score)((start + end) / 2) * (end - start)).sum(-1)
    sums = [float(want[word.tokens].sum()) for word in found.words]
    np.testing.assert_allclose(found.values, sums, rtol=2e-4, atol=1e-5)


def test_special_tokens_and_padding_get_nothing_and_long_texts_are_cut(bert: Explainer):
    long = " ".join(["good bad"] * 40)
    found = bert.explain(long)
    assert len(found.words) == 30  # of 32 places two are special
    assert found.values.sum() - (found.whole - found.empty) == pytest.approx(found.gap, abs=1e-9)


def test_a_pair_explains_both_texts(bert: Explainer):
    found = bert.explain(TEXTS[1], TEXTS[0])
    assert [word.part for word in found.words] == [0] * 3 + [1] * 6
    assert found.words[3].text == "a" and "<br>" in found.marked()


def test_covering_a_word_agrees_with_hand_work(bert: Explainer, module: Classifier, tokenizer: Tokenizer):
    found = bert.explain(TEXTS[1], target="positive", method="occlusion")
    batch, logits = batch_of(TEXTS[1], tokenizer), nnx.jit(lambda module, batch: module(batch))
    for word, value in zip(found.words, found.values, strict=True):
        ids = np.array(batch["ids"])
        ids[0, word.tokens] = tokenizer.pad_id
        fall = found.whole - float(log_odds(logits(module, {**batch, "ids": jnp.asarray(ids)})[0], 1))
        assert value == pytest.approx(fall, abs=1e-5)
    assert np.isnan(found.gap) and "gap" not in repr(found)


def test_every_function_is_compiled_once_a_shape(module: Classifier, tokenizer: Tokenizer):
    bert = Explainer(module, CLASSES, TextProcessor(tokenizer, 32))
    traced = count_traces(lambda: [bert.explain(text, target=CLASSES[0]) for text in TEXTS])
    assert traced > 0
    again = count_traces(lambda: [bert.explain(text, target=target) for text in TEXTS for target in CLASSES])
    assert again == 0, "of these texts and another class nothing is compiled again"
    assert count_traces(lambda: bert.attention(TEXTS[0])) > 0
    assert count_traces(lambda: bert.attention(TEXTS[1])) == 0


def test_attention_is_what_the_layers_use(bert: Explainer, module: Classifier, tokenizer: Tokenizer):
    found = bert.attention(TEXTS[1])
    assert found.tokens[0] == "[CLS]" and found.tokens[-1] == "[SEP]" and len(found.tokens) == 5
    assert found.weights.shape == (2, 2, 5, 5)
    np.testing.assert_allclose(found.weights.sum(-1), 1, rtol=1e-5)  # nothing is left for padding
    batch = batch_of(TEXTS[1], tokenizer)
    layer = jax.tree.map(lambda leaf: leaf[0], nnx.split(module.backbone.layers)[1])
    first = nnx.merge(nnx.split(module.backbone.layers)[0], layer)
    x = module.backbone.embeddings(batch["ids"], batch["types"], None)[:, :5]
    query, key = ((x @ part.kernel[...] + part.bias[...])[0] for part in (first.query, first.key))
    for head, part in enumerate((slice(0, 8), slice(8, 16))):
        scores = np.asarray(query[:, part] @ key[:, part].T) / np.sqrt(8)
        want = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        np.testing.assert_allclose(found.weights[0, head], want, atol=2e-5)
    assert found.table(1).shape == (5, 5) and found.table(0, 1).loc["[CLS]"].sum() == pytest.approx(1)


def test_other_readers_of_texts_are_explained_too_but_have_no_attention(tokenizer: Tokenizer):
    inputs = TextProcessor(tokenizer, 32)
    for name, sizes in (
        ("textcnn", {"embedding": 8, "filters": 8, "depth": 1, "kernel": 2, "pool": 2}),
        ("gpt", {"preset": "mini", "width": 16, "depth": 1, "heads": 2, "mlp_width": 32, "max_length": 32}),
    ):
        explainer = Explainer(classifier(name, vocab_size=tokenizer.vocab_size, **sizes), CLASSES, inputs)
        found = explainer.explain(TEXTS[1], points=64)
        assert len(found.words) == 3 and abs(found.gap) < 0.1 * abs(found.whole - found.empty) + 1e-3, name
        with pytest.raises(ConfigError, match="no attention maps"):
            explainer.attention(TEXTS[1])


# --- pictures and features ----------------------------------------------------------------------------------------


class Linear(nnx.Module):
    """Logits that are linear in the inputs, so that every explanation can be written down."""

    def __init__(self, weights: Any):
        self.weights = nnx.Param(jnp.asarray(weights, jnp.float32))

    def __call__(self, batch: dict[str, Any], *, key: Any = None) -> Any:
        flat = batch["inputs"].reshape(len(batch["inputs"]), -1)
        return flat @ self.weights[...]


def test_a_linear_model_is_explained_exactly():
    random = np.random.default_rng(0)
    weights, features = random.normal(size=(4, 2)), random.normal(size=4).astype(np.float32)
    explainer = Explainer(Linear(weights), CLASSES, FeatureProcessor(shape=(4,)))
    slope = weights[:, 1] - weights[:, 0]
    for method in ("integrated", "occlusion"):
        found = explainer.explain(features, target="positive", method=method)
        np.testing.assert_allclose(found.values, slope * features, atol=1e-5)
    np.testing.assert_allclose(
        explainer.explain(features, target="positive", method="gradient").values, slope, 1e-4
    )
    assert explainer.explain(features, target="positive").gap == pytest.approx(0, abs=1e-5)


def test_labels_and_numbers_are_explained_by_their_own_output():
    random = np.random.default_rng(1)
    weights, features = random.normal(size=(4, 3)), random.normal(size=4).astype(np.float32)
    for problem_type in ("labels", "number"):
        explainer = Explainer(Linear(weights), ("a", "b", "c"), FeatureProcessor(shape=(4,)), problem_type)
        found = explainer.explain(features, target="b")
        np.testing.assert_allclose(found.values, weights[:, 1] * features, atol=1e-5)
        value = float(features @ weights[:, 1])
        assert found.probability["b"] == pytest.approx(
            1 / (1 + np.exp(-value)) if problem_type == "labels" else value, abs=1e-5
        )


def test_a_picture_shows_where_it_looks():
    weights = np.zeros((8, 8, 1, 2), np.float32)
    weights[2:4, 4:6, :, 1] = 5.0
    picture = np.full((8, 8), 255, np.uint8)
    explainer = Explainer(Linear(weights.reshape(64, 2)), CLASSES, ImageProcessor(shape=(8, 8, 1)))
    for method in ("integrated", "occlusion", "gradient"):
        found = explainer.explain(picture, method=method, patch=2)
        assert found.target == "positive" and found.map.shape == (8, 8)
        inside = found.map[2:4, 4:6]
        assert inside.min() > 0.9 * found.map.max() and (found.map[:, :3] == 0).all()
    assert explainer.explain(picture).values.sum() == pytest.approx(20.0, rel=1e-4)
    with pytest.raises(ConfigError, match="patch = 9"):
        explainer.explain(picture, method="occlusion", patch=9)


def test_a_convolutional_network_adds_up():
    config = lk.models["cnn"](preset="lenet-5").replace(input_shape=(28, 28, 1))
    module = Classifier(config.build(nnx.Rngs(0)), config.width, 2, 0.0, rngs=nnx.Rngs(0))
    picture = np.random.default_rng(0).integers(0, 255, (28, 28)).astype(np.uint8)
    found = Explainer(module, CLASSES, ImageProcessor(shape=(28, 28, 1))).explain(picture, points=64)
    assert abs(found.gap) < 0.05 * abs(found.whole - found.empty) + 1e-3


# --- words --------------------------------------------------------------------------------------------------------


def test_words_are_put_together_from_pieces_of_both_kinds():
    text = "unbelievable, don't 你好 café"
    piece = Tokenizer.train(["un able be liev n't do caf"], vocab_size=60, min_frequency=1)
    bytes_ = Tokenizer.train([text], kind="bpe", vocab_size=300)
    for tokenizer in (piece, bytes_):
        found = [text[start:end] for start, end, _ in words_of(tokenizer, text, 1000)]
        assert found[0] == "unbelievable" and "你" in found and "好" in found and found[-1] == "café", found
        tokens = np.concatenate([numbers for _, _, numbers in words_of(tokenizer, text, 1000)])
        assert tokens.tolist() == list(range(len(tokenizer.pieces(text))))


def test_hostile_words_are_text(bert: Explainer):
    found = bert.explain('<b>good</b> "film" & $x$ <img src=x onerror=alert(1)>')
    bundle = shown(found)
    assert (
        "<b>" not in bundle["text/html"]
        and "<img" not in bundle["text/html"]
        and "&lt;" in bundle["text/html"]
    )


@pytest.mark.parametrize(("example", "settings", "error", "said"), [
    (["x"], {}, DataError, "this model expects texts; the example is a list"),
    ("x", {"target": "positiv"}, ConfigError, "Did you mean 'positive'"),
    ("x", {"method": "integrate"}, ConfigError, "Did you mean 'integrated'"),
    ("x", {"method": "gradient"}, ConfigError, "for pictures and features"),
    ("x", {"points": 0}, ConfigError, "points = 0"),
])  # fmt: skip
def test_errors_say_what_to_do(
    bert: Explainer, example: Any, settings: dict[str, Any], error: Any, said: str
):
    with pytest.raises(error, match=said):
        bert.explain(example, **settings)


@pytest.mark.parametrize(("name", "sizes"), [
    ("cnn", {"widths": (4, 6), "input_shape": (12, 10, 3)}),
    ("vgg", {"stages": (1, 1), "base_width": 4, "head_width": 8, "input_shape": (12, 10, 3)}),
])  # fmt: skip
def test_gradcam_by_numpy(name: str, sizes: dict[str, Any]):
    """The gradient by differences in float64, the weights and the scaled-up map by loops."""
    module = classifier(name, **sizes)
    explainer = Explainer(module, CLASSES, ImageProcessor((12, 10, 3)))
    picture = np.random.default_rng(0).random((12, 10, 3)).astype(np.float32)
    found = explainer.explain(picture, target="positive", method="gradcam")
    last = np.asarray(module.backbone.feature_map(jnp.asarray(picture[None])))[0]
    score = jax.jit(lambda x: module.head(module.backbone.from_map(x).pooled)[:, 1])
    answer = np.asarray(explainer.explain(picture, target="positive").probability["positive"])
    logits = module.head(module.backbone.from_map(jnp.asarray(last[None])).pooled)[0]
    assert jax.nn.softmax(logits)[1] == pytest.approx(answer, rel=1e-4)
    weights = np.zeros(last.shape[-1])
    for channel in range(last.shape[-1]):
        # max pooling and ReLU are linear near a map: the sum of the slopes is the slope along all places at once
        slopes = []
        for y, x in np.ndindex(*last.shape[:2]):
            two = np.stack([last, last])
            two[0, y, x, channel] += 1e-3
            two[1, y, x, channel] -= 1e-3
            up, down = np.asarray(score(jnp.asarray(two)), np.float64)
            slopes.append((up - down) / 2e-3)
        weights[channel] = np.mean(slopes)
    seen = np.maximum((last * weights).sum(-1), 0)
    assert found.map.shape == (12, 10) and (found.map >= 0).all() and np.isnan(found.gap)
    want = np.zeros((12, 10))
    for y, x in np.ndindex(12, 10):  # bilinear, at the middles of pixels
        v, u = (y + 0.5) * seen.shape[0] / 12 - 0.5, (x + 0.5) * seen.shape[1] / 10 - 0.5
        total = 0.0
        for i, j in np.ndindex(*seen.shape):
            total_ = max(0, 1 - abs(i - v)) * max(0, 1 - abs(j - u))
            want[y, x] += total_ * seen[i, j]
            total += total_
        want[y, x] /= total
    assert found.map == pytest.approx(want, abs=0.03 * want.max() + 1e-5)
    assert explainer.methods == ("integrated", "occlusion", "gradient", "gradcam")


def test_gradcam_is_refused_where_there_is_no_map(bert: Explainer):
    plain = Explainer(classifier("mlp", input_shape=(4, 4, 1)), CLASSES, ImageProcessor((4, 4, 1)))
    assert "gradcam" not in plain.methods and bert.methods == ("integrated", "occlusion")
    with pytest.raises(ConfigError, match="last map of convolutions"):
        plain.explain(np.zeros((4, 4, 1), np.float32), method="gradcam")
    with pytest.raises(ConfigError, match="is for pictures and sounds"):
        bert.explain(TEXTS[0], method="gradcam")
