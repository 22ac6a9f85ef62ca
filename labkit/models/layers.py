"""Shared layers: linear layers, dropout, attention, pooling, and a scan over stacked layers.

 Nothing here holds random state. Where chance is wanted a function takes a key; ``key=None`` means none, and
then no random number is compiled. Parameters are float32; ``dtype`` is what a layer computes in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.shapes import Array, Bool, Float, Int, PRNGKeyArray
from labkit.models import lean
from labkit.models.dropout import dropout as dropout

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": lean.gelu,
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
}
DTYPES = ("auto", "float32", "bfloat16", "float16", "mixed")


def spread(width: int) -> float:
    """The deviation of new weights: 0.02, with which GPT-2 and BERT were published, at width 768, and as 1 /
    sqrt of the width at others, so that sums over the width begin equally large.

    With 0.02 at any width, narrow layers begin so near zero that a short run ends before they are of use.
    """
    return 0.02 * (768 / width) ** 0.5


@cache
def normal(deviation: float) -> Any:
    """Truncated normal. One object for the whole process: NNX compares initialisers by identity when it
    compares two models' structure."""
    return nnx.initializers.truncated_normal(stddev=deviation)


class Rates(NamedTuple):
    """Default learning rates of an architecture, for AdamW and the default batches: learnt in five epochs of
    a small data set (``tests/evidence/test_defaults.py`` measures it).

    The first two fall with the width of the layers, as 1 / width: they hold at ``width``; where that is 0, at
    any.
    """

    fresh: float  # every parameter, from new weights
    pretrained: float = 0.0  # every parameter, from pretrained weights
    added: float = 2e-3  # biases or low-rank additions, and the head
    head: float = 3e-3  # the head alone
    width: int = 0


class Segments(NamedTuple):
    """Positions of several texts in the rows of a packed batch (Krell et al., arXiv 2107.02027).

    ``segment`` is 0 at padding and 1 … s at tokens of the row's 1st … s-th text, ``position`` restarts at 0
    in every text, and ``start`` is the column of each text's first token (0 where the row holds fewer texts).
    """

    segment: Int[Array, "b t"]
    position: Int[Array, "b t"]
    start: Int[Array, "b s"]


def compute_dtype(name: str) -> jnp.dtype:
    """What layers compute in.

    "auto" is bfloat16 where the hardware is made for it (GPU, TPU) and float32 on a CPU. "mixed" is float32
    too, but for the products of matrices (see :func:`product`).
    """
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype("float32" if name == "mixed" else name)


def halves(name: str) -> bool:
    """Whether what is kept for the gradient is rounded to bfloat16."""
    return name == "mixed" or compute_dtype(name) == jnp.bfloat16


def activate(name: str, dtype: str, x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """One of :data:`ACTIVATIONS`, for layers of this data type."""
    return lean.pointwise(ACTIVATIONS[name], halves(dtype), x)


def gated(name: str, dtype: str, gate: Float[Array, "*s"], x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """``x`` times an activation of ``gate``: one of :data:`ACTIVATIONS` or SiLU (Shazeer 2020, arXiv 2002.05202)."""
    return lean.pointwise(_gates(name), halves(dtype), gate, x)


@cache
def _gates(name: str) -> Callable[[Array, Array], Array]:
    """One object for each activation: JAX compiles anew for another."""
    function = jax.nn.silu if name == "silu" else ACTIVATIONS[name]
    return lambda gate, x: function(gate) * x


def product(x: Float[Array, "*s n"], kernel: Float[Array, "n m"]) -> Float[Array, "*s m"]:
    """``x @ kernel`` of numbers rounded to bfloat16, summed in float32; and so its two gradients."""
    return products(x, (kernel,), (None,))[0]


def scores(hidden: Float[Array, "*s d"], table: Float[Array, "v d"]) -> Float[Array, "*s v"]:
    """``hidden @ table.T``, the same without a fast gradient: nothing is turned."""
    return _of_bfloat16(_rows(hidden), table, 1).reshape(*hidden.shape[:-1], -1)


@jax.custom_vjp
def products(
    x: Float[Array, "*s n"],
    kernels: tuple[Array, ...],
    biases: tuple[Float[Array, " _"] | None, ...],
) -> tuple[Float[Array, "*s _"], ...]:
    """``x @ kernel + bias`` for several kernels [n, m], of numbers rounded to bfloat16, summed in float32; and so the
    gradients. Kernels as bit patterns (:func:`halve`) have none.

    What mixed precision is on a CPU with instructions for it, where XLA computes a product that *results* in
    bfloat16 in float32. Its fast product wants the summed axis of the left factor last and in place: hence
    the factor of the kernels' gradients is turned on the way forward, and kept so, once for all kernels. The
    kernels are not joined: on a CPU XLA does that in one thread, and it takes longer than it saves.
    """
    return _products_forward(x, kernels, biases)[0]


def _products_forward(
    x: Array, kernels: tuple[Array, ...], biases: tuple[Array | None, ...]
) -> tuple[tuple[Array, ...], Any]:
    rows = _rows(x).astype(jnp.bfloat16)
    found = (_of_bfloat16(rows, kernel, 0).reshape(*x.shape[:-1], -1) for kernel in kernels)
    results = tuple(
        y if bias is None else y + lean.along(bias, y) for y, bias in zip(found, biases, strict=True)
    )
    return results, (lean.pack(rows.T, short=True), kernels, biases)


def _products_backward(kept: Any, slopes: tuple[Array, ...]) -> tuple[Array, tuple[Array | None, ...], Any]:
    # Without a loop between them XLA would take the turning back, and has no fast product for that.
    turned, kernels, biases = lean.unpack(jax.lax.optimization_barrier(kept[0])), *kept[1:]
    rows = [_rows(slope).astype(jnp.bfloat16) for slope in slopes]
    to_x = sum(_of_bfloat16(flat, kernel, 1) for flat, kernel in zip(rows, kernels, strict=True))
    to_kernels = tuple(
        None if kernel.dtype == jnp.uint16 else _of_bfloat16(turned, flat, 0).astype(kernel.dtype)
        for kernel, flat in zip(kernels, rows, strict=True)
    )
    to_biases = tuple(
        None if bias is None else flat.sum(0, dtype=jnp.float32)
        for flat, bias in zip(rows, biases, strict=True)
    )
    return jnp.reshape(to_x, (*slopes[0].shape[:-1], -1)), to_kernels, to_biases


products.defvjp(_products_forward, _products_backward)


def _rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


def _of_bfloat16(a: Array, b: Array, axis: int) -> Array:
    """``a`` times ``b``, summed over the last axis of the one and ``axis`` of the other."""
    a, b = a.astype(jnp.bfloat16), lean.unpack(b).astype(jnp.bfloat16)
    # XLA computes the product of a single row in float32 on a CPU, and converts all of ``b`` for that.
    rows = jnp.concatenate([a, jnp.zeros_like(a)]) if len(a) == 1 else a
    found = jax.lax.dot_general(rows, b, (((1,), (axis,)), ((), ())), preferred_element_type=jnp.float32)
    return found[: len(a)]


class Linear(nnx.Linear):
    """A linear layer, which :func:`~labkit.models.lora.add` may give a low-rank addition: kernel + scale · a
    b.

    The addition is multiplied factor by factor, so neither it nor a gradient of the kernel is materialised.
    """

    lora_a: nnx.Param | None = None  # [n, r]
    lora_b: nnx.Param | None = None  # [r, m]
    lora_scale: float = 1.0
    mixed: bool = False  # products of bfloat16, sums in float32

    def __call__(self, inputs: Float[Array, "*s n"]) -> Float[Array, "*s m"]:
        return together((self,), inputs)[0] if self.mixed else self.added(inputs, super().__call__(inputs))

    def added(self, x: Float[Array, "*s n"], result: Float[Array, "*s m"]) -> Float[Array, "*s m"]:
        """``result`` with the addition for ``x``, where there is one."""
        if self.lora_a is None or self.lora_b is None:
            return result
        a, b = (factor[...].astype(x.dtype) for factor in (self.lora_a, self.lora_b))
        return result + ((x @ a) @ b * self.lora_scale).astype(result.dtype)


#: Last names of the parameters of low-rank additions.
ADDED = ("lora_a", "lora_b")


def dense(
    n_in: int, n_out: int, dtype: str, rngs: nnx.Rngs, use_bias: bool = True, width: int | None = None
) -> Linear:
    """A linear layer: kernel [n_in, n_out] truncated normal, as :func:`spread` says for ``width`` (default:
    ``n_in``), bias [n_out] zero."""
    settings: Any = {"dtype": compute_dtype(dtype), "use_bias": use_bias}
    made = Linear(n_in, n_out, kernel_init=normal(spread(width or n_in)), rngs=rngs, **settings)
    made.mixed = dtype == "mixed"
    return made


def together(layers: Sequence[Linear], x: Float[Array, "*s n"]) -> list[Float[Array, "*s m"]]:
    """Several linear layers of one input, which mixed precision then keeps once for all."""
    if not layers[0].mixed:
        return [layer(x) for layer in layers]
    kernels = tuple(layer.kernel[...] for layer in layers)
    biases = tuple(None if layer.bias is None else layer.bias[...] for layer in layers)
    return [layer.added(x, y) for layer, y in zip(layers, products(x, kernels, biases), strict=True)]


def embed(count: int, width: int, rngs: nnx.Rngs, deviation: float | None = None) -> nnx.Embed:
    """A look-up table [count, width], truncated normal (by default as in :func:`spread`)."""
    return nnx.Embed(count, width, embedding_init=normal(deviation or spread(width)), rngs=rngs)


class LayerNorm(nnx.LayerNorm):
    """Layer normalisation over the last axis, in float32; its gradient keeps what is normalised only."""

    short: bool = False  # keep it in bfloat16

    def __call__(self, x: Float[Array, "*s d"]) -> Float[Array, "*s d"]:  # pyrefly: ignore[bad-override]
        return _normalised(self, x, True)


class RMSNorm(nnx.RMSNorm):
    """The same without a mean and a bias."""

    short: bool = False

    def __call__(self, x: Float[Array, "*s d"]) -> Float[Array, "*s d"]:  # pyrefly: ignore[bad-override]
        return _normalised(self, x, False)


def _normalised(layer: LayerNorm | RMSNorm, x: Array, centred: bool) -> Array:
    bias = getattr(layer, "bias", None)
    wide, shift = x.astype(jnp.float32), None if bias is None else bias[...]
    found = lean.normalised(wide, layer.scale[...], shift, layer.epsilon, centred, layer.short)
    return found.astype(layer.dtype)


def norm(width: int, eps: float, dtype: str, rngs: nnx.Rngs, use_bias: bool = True) -> LayerNorm:
    """Layer normalisation."""
    made = LayerNorm(width, epsilon=eps, dtype=compute_dtype(dtype), use_bias=use_bias, rngs=rngs)
    made.short = halves(dtype)
    return made


def rms_norm(width: int, eps: float, dtype: str, rngs: nnx.Rngs) -> RMSNorm:
    """RMS normalisation."""
    made = RMSNorm(width, epsilon=eps, dtype=compute_dtype(dtype), rngs=rngs)
    made.short = halves(dtype)
    return made


def padding_bias(mask: Bool[Array, "b t"]) -> Float[Array, "b 1 1 t"]:
    """What to add to attention scores: 0 at real tokens, the lowest finite float32 at padding.

    Finite, so that a row without any real token gives an even attention and not NaN.
    """
    return jnp.where(mask, 0.0, jnp.finfo(jnp.float32).min)[:, None, None, :]


def segment_bias(segment: Int[Array, "b t"], causal: bool = False) -> Float[Array, "b 1 t t"]:
    """The same for packed rows: 0 within a text, the lowest finite float32 between texts.

    Padding attends to padding, so no row of scores is without a partner. ``causal``, for decoders: nor to
    what follows.
    """
    seen = segment[:, None, :, None] == segment[:, None, None, :]
    if causal:
        seen &= jnp.tri(segment.shape[1], dtype=bool)
    return jnp.where(seen, 0.0, jnp.finfo(jnp.float32).min)


def attend(
    query: Float[Array, "b q h k"],
    key: Float[Array, "b t h k"],
    value: Float[Array, "b t h k"],
    bias: Float[Array, "#b #h #q t"],
    rate: float = 0.0,
    rng: PRNGKeyArray | None = None,
    short: bool = False,
) -> Float[Array, "b q h k"]:
    """Scaled dot-product attention, softmax in float32, dropout on the probabilities (Vaswani et al. 2017,
    3.2).

    On a GPU, in sixteen bits and without dropout on the probabilities, it is cuDNN's fused kernel, which
    never writes the scores to memory. Elsewhere it is written out: ``jax.nn.dot_product_attention`` has no
    dropout, and on a CPU neither form is measurably faster. ``short``: products of bfloat16, see
    :func:`labkit.models.lean.attention`.
    """
    dropped = rng is not None and round(rate * 65536) > 0
    if jax.default_backend() == "gpu" and fused_kernel_takes(query, key, dropped):
        try:
            return jax.nn.dot_product_attention(query, key, value, mask=bias == 0, implementation="cudnn")
        except (RuntimeError, NotImplementedError, ValueError):
            pass  # cuDNN is missing or too old, or the GPU is
    return lean.attention(query, key, value, bias, rng, rate, short)


def fused_kernel_takes(
    query: Float[Array, "b q h k"], key: Float[Array, "b t h k"], dropped: bool = False
) -> bool:
    """Whether cuDNN's fused attention takes these shapes and types: sixteen bits, heads of at most 128 numbers in
    multiples of 8, rows of an even length (with a mask), and no dropout on the probabilities, of which its seed
    would be fixed at compilation."""
    wide, lengths = query.shape[-1], (query.shape[1], key.shape[1])
    half = query.dtype in (jnp.bfloat16, jnp.float16) and key.dtype == query.dtype
    return (
        half and not dropped and wide <= 128 and wide % 8 == 0 and not any(length % 2 for length in lengths)
    )


#: Cosine and sine of the angle of every position, f32[b, t, 1, k] each; None where positions are learned.
Rotation = tuple[Array, Array] | None


def frequencies(size: int, base: float) -> np.ndarray:
    """Frequencies f32[k / 2] of rotary positions for heads of k = ``size`` (Su et al. 2021, arXiv
    2104.09864)."""
    return np.float32(1) / np.float32(base) ** (np.arange(0, size, 2, dtype=np.float32) / np.float32(size))


def rotation(place: Int[Array, "#b t"], wave: np.ndarray) -> tuple[Array, Array]:
    """Angles of positions for :func:`turned`."""
    angle = place[:, :, None, None].astype(jnp.float32) * jnp.concatenate([wave, wave])
    return jnp.cos(angle), jnp.sin(angle)


def turned(x: Float[Array, "b t h k"], by: Rotation) -> Float[Array, "b t h k"]:
    """Heads turned by their positions. The pairs that turn together are i and i + k / 2, as in Hugging Face's
    weights; the paper has 2 i and 2 i + 1: the same but for the order."""
    if by is None:
        return x
    cosine, sine = by
    half = x.shape[-1] // 2
    other = jnp.concatenate([-x[..., half:], x[..., :half]], axis=-1)
    return (x * cosine + other * sine).astype(x.dtype)


def masked_mean(hidden: Float[Array, "b t d"], mask: Bool[Array, "b t"]) -> Float[Array, "b d"]:
    """Mean over the real tokens of each row; zeros for a row that has none."""
    total = jnp.einsum("btd,bt->bd", hidden, mask.astype(hidden.dtype))
    return total / jnp.maximum(mask.sum(axis=1, dtype=hidden.dtype), 1)[:, None]


def segment_mean(hidden: Float[Array, "b t d"], segments: Segments) -> Float[Array, "b s d"]:
    """Mean over the tokens of each text of packed rows; zeros in empty places."""
    places = jnp.arange(1, segments.start.shape[1] + 1)
    mine = (segments.segment[:, :, None] == places).astype(hidden.dtype)
    return jnp.einsum("btd,bts->bsd", hidden, mine) / jnp.maximum(mine.sum(axis=1), 1)[:, :, None]


def segment_first(hidden: Float[Array, "b t d"], segments: Segments) -> Float[Array, "b s d"]:
    """The first token of each text of packed rows; of no meaning in empty places."""
    return jnp.take_along_axis(hidden, segments.start[:, :, None], axis=1)


#: How the hidden states of a text become one vector.
POOLINGS = ("mean", "first", "last", "max", "mean_sqrt", "weighted_mean")


def pool(hidden: Float[Array, "b t d"], mask: Bool[Array, "b t"], how: str) -> Float[Array, "b d"]:
    """One vector of each row, of its real tokens.

    Args:
        hidden: hidden states.
        mask: True at real tokens, which come first in a row.
        how: "mean"; "mean_sqrt", the sum divided by the root of their number; "weighted_mean", each weighing
            as much as its position, counted from 1; "max" in every dimension; "first" or "last" token.
    """
    if how == "mean":
        return masked_mean(hidden, mask)
    if how == "first":
        return hidden[:, 0]
    return _pooled(hidden, mask[:, :, None], jnp.arange(mask.shape[1])[None], how)[:, 0]


def pool_segments(hidden: Float[Array, "b t d"], segments: Segments, how: str) -> Float[Array, "b s d"]:
    """The same of each text of packed rows; of no meaning in empty places."""
    if how == "mean":
        return segment_mean(hidden, segments)
    if how == "first":
        return segment_first(hidden, segments)
    places = jnp.arange(1, segments.start.shape[1] + 1)
    return _pooled(hidden, segments.segment[:, :, None] == places, segments.position, how)


def _pooled(
    hidden: Float[Array, "b t d"], mine: Bool[Array, "b t s"], position: Int[Array, "#b t"], how: str
) -> Float[Array, "b s d"]:
    """Pooling of texts, the tokens of text s of row b being where ``mine`` [b, t, s] is True."""
    count = mine.sum(axis=1, dtype=jnp.int32)[:, :, None]
    if how == "max":
        # One text of a row at a time: all at once would hold [b, t, s, d].
        best = jax.lax.map(
            lambda one: jnp.where(one[:, :, None], hidden, -jnp.inf).max(1), jnp.moveaxis(mine, 2, 0)
        )
        return jnp.where(count > 0, jnp.moveaxis(best, 0, 1), 0)
    weight = mine.astype(hidden.dtype)
    if how == "weighted_mean":
        weight *= (position + 1)[:, :, None]
    elif how == "last":
        weight *= position[:, :, None] == jnp.moveaxis(count, 1, 2) - 1
    size = jnp.maximum(weight.sum(axis=1), 1)[:, :, None]
    total = jnp.einsum("btd,bts->bsd", hidden, weight)
    return total / (jnp.sqrt(size) if how == "mean_sqrt" else size)


def stack(make: Callable[[nnx.Rngs], nnx.Module], depth: int, rngs: nnx.Rngs) -> Any:
    """Make ``depth`` layers of one kind as one module whose parameters have a first axis [depth, …]."""
    build = nnx.vmap(lambda rngs: make(rngs), in_axes=0, out_axes=0)
    return nnx.split_rngs(splits=depth)(build)(rngs)


def unstack(layers: Any) -> nnx.List:
    """Stacked layers as a list of layers, each with parameters of its own.

    A loop over stacked layers copies the parameters of each before it uses them. That is nothing next to the
    arithmetic of a batch, but as much as all else where one token is computed at a time.
    """
    graph, params = nnx.split(layers)
    depth = len(jax.tree.leaves(params)[0])
    return nnx.List([nnx.merge(graph, jax.tree.map(lambda leaf, n=n: leaf[n], params)) for n in range(depth)])


def halve(module: nnx.Module) -> None:
    """Round the kernels of linear layers that multiply numbers of sixteen bits, once instead of at every use.

    In mixed precision those of stacked layers become bit patterns (:func:`labkit.models.lean.pack`): of
    bfloat16 XLA takes a layer out of the stack in float32 on a CPU.
    """
    for _path, each in nnx.iter_graph(module):
        if isinstance(each, Linear):
            kernel = each.kernel[...]
            if each.mixed:
                each.kernel = nnx.Param(
                    lean.pack(kernel, True) if kernel.ndim > 2 else kernel.astype(jnp.bfloat16)
                )
            elif each.dtype in (jnp.bfloat16, jnp.float16):
                each.kernel = nnx.Param(kernel.astype(each.dtype))


def scan(
    layers: nnx.Module, x: Array, *shared: Any, key: PRNGKeyArray | None = None, unroll: int = 1, remat: bool = False,
    each: tuple[Array, ...] = (),
) -> Array:  # fmt: skip
    """Run stacked layers one after the other: ``x = layer(x, *its_own, *shared, key=key_of_the_layer)``,
    where ``its_own`` are the values that ``each`` has for it on first axes [depth, …].

    The layer is compiled once whatever the depth. ``unroll`` layers are unrolled inside the loop: more
    compile time for a few per cent of speed. With ``remat`` only what goes from layer to layer is kept for
    the gradient and the rest is computed again (Chen et al., arXiv 1604.06174): memory for a third more
    arithmetic. ``layers`` may be unstacked too (:func:`unstack`).
    """
    if isinstance(layers, nnx.List):
        keys = [None] * len(layers) if key is None else list(jax.random.split(key, len(layers)))
        for number, layer in enumerate(layers):
            x = layer(x, *(values[number] for values in each), *shared, key=keys[number])
        return x
    graph, params = nnx.split(layers)
    depth = jax.tree.leaves(params)[0].shape[0]
    keys = None if key is None else jax.random.split(key, depth)

    def step(x: Array, layer: tuple[Any, PRNGKeyArray | None, tuple[Array, ...]]) -> tuple[Array, None]:
        return nnx.merge(graph, layer[0])(x, *layer[2], *shared, key=layer[1]), None

    step = (
        jax.checkpoint(step, prevent_cse=False) if remat else step
    )  # a scan needs no barrier against merging
    return jax.lax.scan(step, x, (params, keys, each), length=depth, unroll=min(unroll, depth))[0]
