"""An ``nnx.Module`` of one's own as an architecture: its config follows from the signature of its
constructor."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from labkit.core.config import option
from labkit.core.errors import ConfigError
from labkit.core.shapes import Array, Float, PRNGKeyArray
from labkit.i18n import _
from labkit.models.base import DrawingPart, Modality, ModelConfig
from labkit.models.conv import Pooled, scaled
from labkit.models.layers import Rates

#: Names of a first argument that is the token ids of texts.
IDS = ("ids", "input_ids", "tokens", "token_ids")
#: Parameters of a constructor that labkit gives: from the data, and the random numbers.
GIVEN = ("input_shape", "vocab_size", "max_length", "rngs")
#: Attributes of :class:`~labkit.models.base.ModelConfig` that a class of one's own may have.
PLACES = ("rates", "capabilities", "sharding", "drawing", "lora_targets")
#: Attributes of a config that a setting of this name may replace.
FREE = ("width", "depth")
#: Types of settings.
TYPES = (int, float, bool, str, tuple)


@dataclass(frozen=True, init=False)
class ModuleConfig(ModelConfig):
    """Base of the configs that :func:`config_class` makes. Its fields are the settings of the constructor.

    Attributes:
        factory: the class of the module, or a function that returns one.
    """

    factory: ClassVar[Callable[..., nnx.Module]]
    packs: ClassVar[bool] = False
    rates: ClassVar[Rates] = Rates(fresh=1e-3)
    depth: ClassVar[int] = 1
    free: ClassVar[tuple[str, ...]] = ()
    drawing: ClassVar[tuple[DrawingPart, ...]] = (DrawingPart("module", 4, "block_dense", 4),)
    dtype: ClassVar[str] = "float32"

    @property
    def width(self) -> int:
        """The same as :attr:`output_width`, unless the constructor has a setting of this name."""
        return _width(self)

    @property
    def output_width(self) -> int:
        """Width of the vector that the module makes of an example."""
        return _width(self)

    @property
    def layers(self) -> int:
        """One: see :meth:`Wrapped.layer_ids`."""
        return 1

    def build(self, rngs: nnx.Rngs) -> Wrapped:
        """A module with fresh parameters.

        Raises:
            ConfigError: the constructor reads the shape of an example, which is not known yet.
        """
        return Wrapped(self, rngs)

    def create(self, rngs: nnx.Rngs) -> nnx.Module:
        """What the constructor makes of the settings. Raises :class:`ConfigError` as :meth:`build`."""
        values = {**self.values(), "rngs": rngs}
        names = list(_parameters(type(self).factory))
        if missing := [name for name in names if name in GIVEN and values.get(name) is None]:
            raise ConfigError(
                _("{name}.{field} is not known yet: it comes from the data. Give it, to build the model without them."),
                name=type(self).__name__, field=missing[0],
            )  # fmt: skip
        return type(self).factory(**{name: values[name] for name in names})


@functools.lru_cache(maxsize=64)
def _width(config: ModuleConfig) -> int:
    model = nnx.eval_shape(lambda: config.build(nnx.Rngs(0)))
    graph, state = nnx.split(model)
    batch: tuple[jax.ShapeDtypeStruct, ...] = (
        jax.ShapeDtypeStruct((2, *(config.input_shape or (1,))), jnp.float32),
    )
    if config.modality is Modality.TEXT:
        batch = jax.ShapeDtypeStruct((2, 8), jnp.int32), jax.ShapeDtypeStruct((2, 8), jnp.bool_)
    return jax.eval_shape(
        lambda state, *arrays: nnx.merge(graph, state)(*arrays).pooled, state, *batch
    ).shape[1]


class Wrapped(nnx.Module):
    """A module of one's own as the backbone of a model. Parameters under ``module``.

    Random streams are taken out of it, since a training step is a function of its key, and come back for each
    call.
    """

    def __init__(self, config: ModuleConfig, rngs: nnx.Rngs):
        self.config = config
        self.module = config.create(rngs)
        self._streams = tuple(_streams(self.module))
        _set_streams(self.module, self._streams, None)
        known = inspect.signature(type(self.module).__call__).parameters
        self._reads = tuple(known)[1:]

    def __call__(
        self, inputs: Array, mask: Array | None = None, types: Array | None = None, segments: object = None, *,
        key: PRNGKeyArray | None = None, real: Array | None = None,
    ) -> Pooled:  # fmt: skip
        """The vectors f32[b, d] that the module makes of arrays, bytes as 0 … 1, or of token ids.

        The module gets those of these arguments that its ``__call__`` names: ``mask`` and ``types`` of texts,
        ``key``, ``real`` (which examples are no filler), ``training`` and ``deterministic``. ``key`` switches
        dropout on.
        """
        texts = self.config.modality is Modality.TEXT
        training = key is not None
        more = {"mask": mask, "types": types, "key": key, "real": real, "training": training,
                "deterministic": not training}  # fmt: skip
        if training:
            self.module.train()
        else:
            self.module.eval()
        _set_streams(self.module, self._streams, jax.random.key(0) if key is None else key)
        named = {name: value for name, value in more.items() if name in self._reads[1:]}
        found = self.module(inputs if texts else scaled(inputs, "float32"), **named)
        _set_streams(self.module, self._streams, None)
        return Pooled(self._vectors(found))

    def _vectors(self, found: Any) -> Float[Array, "b d"]:
        shape = getattr(found, "shape", None)
        if shape is None or len(shape) != 2:
            raise ConfigError(
                _("{name} must return one vector for each example, [batch, width]; it returns {found}."),
                name=type(self.module).__name__, found=type(found).__name__ if shape is None else list(shape),
            )  # fmt: skip
        return found.astype(jnp.float32)

    def layer_ids(self, path: tuple[str, ...]) -> int:
        """The layer of a parameter: all are in the first."""
        return 1


def _streams(module: nnx.Module) -> typing.Iterator[tuple[tuple[Any, ...], str, bool]]:
    """Where a module holds random streams: the path of a node, the attribute, and whether it is a set of
    streams."""
    for path, node in nnx.iter_graph(module):
        if isinstance(node, nnx.Module):
            for name, value in vars(node).items():
                if isinstance(value, nnx.Rngs | nnx.RngStream):
                    yield path, name, isinstance(value, nnx.Rngs)


def _set_streams(module: nnx.Module, streams: tuple[Any, ...], key: PRNGKeyArray | None) -> None:
    """Put fresh streams of ``key`` where a module holds some; None: take them out."""
    for number, (path, name, several) in enumerate(streams):
        node: Any = module
        for part in path:
            node = (
                node[part] if isinstance(part, int) or not hasattr(node, str(part)) else getattr(node, part)
            )
        found = None
        if key is not None:
            found = nnx.Rngs(jax.random.fold_in(key, number))
            found = found if several else found["dropout"]
        setattr(node, name, nnx.data(found))


@functools.cache
def config_class(entry: object) -> type[ModelConfig]:
    """The config class of an architecture: itself, or one made for a module of one's own.

    Args:
        entry: a subclass of :class:`~labkit.models.base.ModelConfig`; or a class of ``nnx.Module``, or a
            function that returns a module. Its parameters with defaults become settings; ``rngs`` is given,
            and where it names them ``input_shape`` (of one example), ``vocab_size`` and ``max_length`` of the
            data. Its modules map a batch to one vector for each example. An attribute ``modality`` says what
            they read; left out, texts where the first argument of the call is named ``ids``, ``input_ids`` or
            ``tokens``, else arrays.

    Raises:
        ConfigError: it is none of these, or a parameter can be no setting.
    """
    if isinstance(entry, type) and issubclass(entry, ModelConfig):
        return entry
    name = getattr(entry, "__qualname__", type(entry).__name__)
    parameters = _parameters(entry)
    if "rngs" not in parameters or (isinstance(entry, type) and not issubclass(entry, nnx.Module)):
        raise ConfigError(
            _("{name} is no architecture: give a class of nnx.Module, or a function that returns a module, with a "
              "parameter `rngs`; labkit makes the module, so that it can be made again."),
            name=name,
        )  # fmt: skip
    modality = Modality(getattr(entry, "modality", None) or _modality(entry))
    hints = _hints(entry.__init__ if isinstance(entry, type) else entry)
    fields: list[tuple[str, Any, Any]] = []
    for each in parameters.values():
        if each.name in GIVEN:
            continue
        if hasattr(ModuleConfig, each.name) and each.name not in FREE:
            raise ConfigError(
                _("{name}: the parameter {parameter!r} has the name of something that every config has; rename it."),
                name=name, parameter=each.name,
            )  # fmt: skip
        hint = hints.get(each.name, type(each.default))
        plain = typing.get_origin(hint) or hint
        if (
            each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
            or each.default is each.empty
            or plain not in TYPES
        ):
            raise ConfigError(
                _("{name}: the parameter {parameter!r} is a setting, so it needs a default that is a number, a text, "
                  "True or False, or a tuple of them."),
                name=name, parameter=each.name,
            )  # fmt: skip
        fields.append((each.name, hint, option(each.default)))
    settings = tuple(name for name, *_unused in fields)
    if modality is Modality.TEXT:
        fields += [
            ("vocab_size", int | None, option(None)),
            ("max_length", int, option(512, low=1, high=10_000_000)),
        ]
    else:
        fields.append(("input_shape", tuple[int, ...] | None, option(None)))
    space = {
        "factory": staticmethod(entry), "modality": modality, "shown": settings, "__doc__": entry.__doc__,
        **{each: getattr(entry, each) for each in PLACES if hasattr(entry, each)},
    }  # fmt: skip
    made = dataclasses.make_dataclass(
        entry.__name__, fields, bases=(ModuleConfig,), namespace=space, frozen=True, init=False
    )
    made.__module__, made.__qualname__ = (
        entry.__module__,
        entry.__qualname__,
    )  # by which the registry knows it
    return made


def _parameters(entry: object) -> Mapping[str, inspect.Parameter]:
    """The parameters of a function, or of the constructor of a class; of anything else none."""
    if isinstance(entry, type):  # whose own signature is that of the metaclass
        return dict(list(inspect.signature(entry.__init__).parameters.items())[1:])
    return inspect.signature(entry).parameters if inspect.isfunction(entry) else {}


def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The annotations of a function; none where they name what cannot be found."""
    try:
        return typing.get_type_hints(function)
    except (NameError, AttributeError, TypeError):
        return {}


def _modality(entry: Any) -> Modality:
    """What modules read whose class does not say: by the first argument of their call."""
    hint = entry if isinstance(entry, type) else _hints(entry).get("return")
    call = (
        inspect.signature(hint.__call__) if isinstance(hint, type) and issubclass(hint, nnx.Module) else None
    )
    names = list(call.parameters)[1:2] if call else []
    return Modality.TEXT if names and names[0] in IDS else Modality.FEATURES
