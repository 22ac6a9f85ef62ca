"""An ONNX graph that grows node by node, with the shapes of JAX: numbers, or expressions of symbolic dimensions."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit.core.errors import ConfigError
from labkit.i18n import _

#: Versions of the operators and of the file format: read by ONNX Runtime from 1.17 (2024) on.
OPSET, IR_VERSION = 20, 9
#: Data types that graphs compute in, by the names of their ONNX types.
TYPES = {
    "float32": "FLOAT", "float64": "DOUBLE", "int32": "INT32", "int64": "INT64", "uint8": "UINT8", "int8": "INT8",
    "bool": "BOOL", "uint32": "UINT32",
}  # fmt: skip
#: Calls in the text of a symbolic dimension → operators.
CALLS = {"floordiv": "Div", "mod": "Mod", "max": "Max", "min": "Min"}
#: Size of a dimension: a number, or a symbolic expression of JAX.
Size = Any
END = np.iinfo(np.int64).max


@dataclass(eq=False)
class Tensor:
    """A value of a computation.

    Attributes:
        shape: as JAX has it.
        dtype: its data type.
        name: in the graph; "" for a constant, which is not in the graph yet.
        data: of a constant; None otherwise.
        held: shape of ``data`` or of the value in the graph: that of ``shape``, or 1 where the value is to be
            broadcast along a dimension, which operators of ONNX do by themselves.
    """

    shape: tuple[Size, ...]
    dtype: np.dtype
    name: str = ""
    data: np.ndarray | None = None
    held: tuple[Size, ...] = ()

    @classmethod
    def constant(cls, data: Any, shape: tuple[Size, ...] | None = None) -> Tensor:
        """A constant; ``shape`` where it is to be broadcast."""
        data = np.asarray(data)
        return cls(data.shape if shape is None else shape, data.dtype, "", data, data.shape)


def is_fixed(size: Size) -> bool:
    """Whether a size is a number."""
    return isinstance(size, int | np.integer)


class Graph:
    """Nodes, constants, inputs and outputs of an ONNX graph.

    Args:
        share: whether a matrix that is read both as it is and transposed is stored once. Quantisation needs two.
    """

    def __init__(self, share: bool = True):
        import onnx

        self.onnx, self.share = onnx, share
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self._stored: dict[Any, str] = {}
        self._kept: list[np.ndarray] = []  # whose identity is a key of _stored
        self._turned: dict[Any, np.ndarray] = {}
        self._sizes: dict[str, str] = {}
        self._count = 0

    # --- building ---------------------------------------------------------------------------------------------

    def element_type(self, dtype: np.dtype) -> int:
        """The number of a data type in ONNX. Raises :class:`ConfigError` for one that is not supported."""
        if (known := TYPES.get(np.dtype(dtype).name)) is None:
            raise ConfigError(
                _("the ONNX export does not support the data type {dtype}. Supported: {known}."),
                dtype=np.dtype(dtype).name, known=", ".join(TYPES),
            )  # fmt: skip
        return getattr(self.onnx.TensorProto, known)

    def fresh(self, stem: str) -> str:
        """A new name."""
        self._count += 1
        return f"{stem}_{self._count}"

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; returns its name."""
        (name,) = self.nodes_of(operator, 1, *inputs, **attributes)
        return name

    def nodes_of(self, operator: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node with several outputs; returns their names."""
        names = [self.fresh(operator) for _unused in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, names, names[0], **attributes))
        return names

    def stored(self, data: np.ndarray) -> str:
        """The name of a constant in the graph; small equal ones, and the same large one, are stored once."""
        small = data.size <= 64
        key = (data.dtype.str, data.shape, data.tobytes()) if small else id(data)
        if key not in self._stored:
            self.element_type(data.dtype)
            self._stored[key] = name = self.fresh("constant" if small else "weight")
            self.constants[name] = data
            self._kept.append(data)
        return self._stored[key]

    def is_stored(self, data: np.ndarray) -> bool:
        """Whether a large constant is in the graph."""
        return id(data) in self._stored

    def integers(self, *values: int) -> str:
        """A constant vector i64[n]."""
        return self.stored(np.array(values, np.int64))

    def named(self, tensor: Tensor) -> str:
        """The name of a value in the graph, as it is held."""
        if tensor.data is not None and not tensor.name:
            return self.stored(tensor.data)
        return tensor.name

    def whole(self, tensor: Tensor) -> Tensor:
        """The same value, broadcast to its shape."""
        if tensor.held == tensor.shape:
            return tensor
        if tensor.data is not None and all(map(is_fixed, tensor.shape)):
            return Tensor.constant(np.broadcast_to(tensor.data, tensor.shape))
        name = self.node("Expand", self.named(tensor), self.sizes(tensor.shape))
        return Tensor(tensor.shape, tensor.dtype, name, None, tensor.shape)

    def turned(self, data: np.ndarray, order: Sequence[int]) -> np.ndarray:
        """A constant with its axes in another order; one object for each."""
        key = id(data), tuple(order)
        if key not in self._turned:
            self._kept.append(data)
            self._turned[key] = np.ascontiguousarray(data.transpose(order))
        return self._turned[key]

    def transposed(self, tensor: Tensor, order: Sequence[int]) -> Tensor:
        """A value with its axes in another order."""
        order = tuple(int(axis) for axis in order)
        if order == tuple(range(len(order))):
            return tensor
        shape, held = (tuple(sizes[axis] for axis in order) for sizes in (tensor.shape, tensor.held))
        if tensor.data is not None and not (self.share and self.is_stored(tensor.data)):
            return Tensor(shape, tensor.dtype, "", self.turned(tensor.data, order), held)
        return Tensor(shape, tensor.dtype, self.node("Transpose", self.named(tensor), perm=order), None, held)

    def reshaped(self, tensor: Tensor, shape: Sequence[Size]) -> Tensor:
        """A value in another shape of as many elements."""
        tensor, shape = self.whole(tensor), tuple(shape)
        if shape == tensor.shape:
            return tensor
        if tensor.data is not None:
            return Tensor.constant(tensor.data.reshape(shape))
        wanted: list[Any] = []
        for place, size in enumerate(shape):
            same = place < len(tensor.shape) and size == tensor.shape[place]
            wanted.append(int(size) if is_fixed(size) else (0 if same else None))
        if wanted.count(None) > 1 or 0 in [size for size in shape if is_fixed(size)]:
            target = self.sizes(shape)
        else:
            target = self.integers(*(-1 if size is None else size for size in wanted))
        return Tensor(shape, tensor.dtype, self.node("Reshape", tensor.name, target), None, shape)

    def cast(self, tensor: Tensor, dtype: Any) -> Tensor:
        """A value as another data type."""
        dtype = np.dtype(dtype)
        if dtype == tensor.dtype:
            return tensor
        if tensor.data is not None:
            return Tensor(tensor.shape, dtype, "", tensor.data.astype(dtype), tensor.held)
        name = self.node("Cast", self.named(tensor), to=self.element_type(dtype))
        return Tensor(tensor.shape, dtype, name, None, tensor.held)

    # --- symbolic sizes ---------------------------------------------------------------------------------------

    def size(self, size: Size) -> str:
        """A size as a vector i64[1] of the graph."""
        if is_fixed(size):
            return self.integers(int(size))
        text = str(size)
        if text not in self._sizes:
            self._sizes[text] = self._computed(ast.parse(text.replace("^", "**"), mode="eval").body)
        return self._sizes[text]

    def sizes(self, shape: Sequence[Size]) -> str:
        """A shape as a vector i64[n] of the graph."""
        if all(map(is_fixed, shape)):
            return self.integers(*map(int, shape))
        return self.node("Concat", *map(self.size, shape), axis=0)

    def _computed(self, tree: ast.expr) -> str:
        """The nodes that compute an expression of symbolic dimensions, i64[1]."""
        if isinstance(tree, ast.Constant):
            return self.integers(int(tree.value))  # type: ignore[arg-type]
        if isinstance(tree, ast.Name):
            return self._sizes[tree.id]
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
            return self.node("Neg", self._computed(tree.operand))
        if isinstance(tree, ast.BinOp):
            if isinstance(tree.op, ast.Pow) and isinstance(tree.right, ast.Constant):
                found = once = self._computed(tree.left)
                for _unused in range(int(tree.right.value) - 1):  # type: ignore[arg-type]
                    found = self.node("Mul", found, once)
                return found
            operators: dict[type, str] = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul"}
            return self.node(operators[type(tree.op)], self._computed(tree.left), self._computed(tree.right))
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id in CALLS:
            left, right = map(self._computed, tree.args)
            if tree.func.id == "floordiv":  # ONNX rounds towards 0
                rest = self.node("Mod", left, right)
                return self.node("Div", self.node("Sub", left, rest), right)
            return self.node(CALLS[tree.func.id], left, right)
        raise ConfigError(
            _("the ONNX export does not support the symbolic size {size}."), size=ast.unparse(tree)
        )

    # --- inputs, outputs, the model ---------------------------------------------------------------------------

    def input(self, name: str, dtype: Any, shape: Sequence[Size]) -> Tensor:
        """Add an input of the graph, whose symbolic sizes are known from then on."""
        shape = tuple(shape)
        self.inputs.append(self._described(name, dtype, shape))
        for axis, size in enumerate(shape):
            if not is_fixed(size) and str(size) not in self._sizes:
                self._sizes[str(size)] = self.node("Shape", name, start=axis, end=axis + 1)
        return Tensor(shape, np.dtype(dtype), name, None, shape)

    def output(self, name: str, tensor: Tensor) -> None:
        """Add an output of the graph."""
        tensor = self.whole(tensor)
        self.nodes.append(self.onnx.helper.make_node("Identity", [self.named(tensor)], [name], name))
        self.outputs.append(self._described(name, tensor.dtype, tensor.shape))

    def _described(self, name: str, dtype: Any, shape: Sequence[Size]) -> Any:
        dims = [int(size) if is_fixed(size) else str(size) for size in shape]
        return self.onnx.helper.make_tensor_value_info(name, self.element_type(np.dtype(dtype)), dims)

    def model(self, facts: Mapping[str, str]) -> Any:
        """The graph as an ``onnx.ModelProto``, with ``facts`` as its metadata."""
        helper, numpy_helper = self.onnx.helper, self.onnx.numpy_helper
        nodes = _needed(self.nodes, self.outputs)
        used = {name for node in nodes for name in node.input}
        weights = [
            numpy_helper.from_array(np.asarray(data, order="C"), name)
            for name, data in self.constants.items() if name in used
        ]  # fmt: skip
        graph = helper.make_graph(nodes, "model", self.inputs, self.outputs, weights)
        made = helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="labkit",
        )
        for key, value in facts.items():
            entry = made.metadata_props.add()
            entry.key, entry.value = key, value
        return made


def _needed(nodes: Sequence[Any], outputs: Sequence[Any]) -> list[Any]:
    """The nodes that the outputs depend on, in their order."""
    wanted, kept = {output.name for output in outputs}, []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]
