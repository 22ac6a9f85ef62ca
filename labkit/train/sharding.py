"""Sharding: a device mesh with the axes ``data`` and ``model``, and sharding rules for parameters.

 The batch is divided over ``data``. Parameters are copied to every device, or divided: over ``model`` as the
rules say (Shoeybi et al., arXiv 1909.08053) and, fully sharded, over ``data`` too (Rajbhandari et al., arXiv
1910.02054). What a step computes is the same whatever the mesh; XLA's partitioner adds the communication.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from labkit.core.errors import ConfigError
from labkit.i18n import _

#: Arrays smaller than this many elements are copied: dividing them costs more than it saves.
LEAST = 2**12


@dataclass(frozen=True)
class Placement:
    """Placement of the arrays of a run on the devices.

    Args:
        mesh: with the axes ``data`` and ``model``.
        sharded: divide parameters and optimizer state over ``data`` as well.
        rules: of the architecture, :attr:`labkit.models.base.ModelConfig.sharding`.
    """

    mesh: Mesh
    sharded: bool = False
    rules: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(
        cls, devices: int = 0, model: int = 1, sharded: bool = False, rules: tuple[tuple[str, int], ...] = ()
    ) -> Placement | None:
        """The placement on so many devices (0: all there are); None on one, where there is nothing to place.

        Raises:
            ConfigError: there are fewer devices, or ``model`` does not divide them.
        """
        there = jax.devices()
        count = devices or len(there)
        if count > len(there):
            raise ConfigError(
                _("devices = {count}, but JAX sees {n_there} ({device_kind})."),
                count=count, n_there=len(there), device_kind=there[0].device_kind,
            )  # fmt: skip
        if count % model:
            raise ConfigError(
                _("model_parallel = {model} does not divide the {count} devices."), model=model, count=count
            )
        if count == 1:
            return None
        auto = (AxisType.Auto, AxisType.Auto)  # the partitioner chooses how what lies between is divided
        mesh = jax.make_mesh((count // model, model), ("data", "model"), auto, devices=there[:count])
        return cls(mesh, sharded, rules)

    @property
    def data(self) -> int:
        """Parts that a batch is divided into."""
        return self.mesh.shape["data"]

    def dividing(self, parts: int) -> Placement | None:
        """The same on no more devices than ``parts`` parts of a batch can be dealt out to; None on one."""
        model = self.mesh.shape["model"]
        data = math.gcd(self.data, parts)
        return self if data == self.data else Placement.of(data * model, model, self.sharded, self.rules)

    @property
    def replicated(self) -> NamedSharding:
        """The sharding of what every device has whole."""
        return self._sharding(PartitionSpec())

    def spec(self, name: str, shape: Sequence[int]) -> PartitionSpec:
        """Which axis of a parameter is sharded over which mesh axis."""
        axes: list[str | None] = [None] * len(shape)
        if math.prod(shape) < LEAST:
            return PartitionSpec()
        model = self.mesh.shape["model"]
        axis = next((axis for pattern, axis in self.rules if fnmatch.fnmatch(name, pattern)), None)
        if model > 1 and axis is not None and len(shape) >= -axis and shape[axis] % model == 0:
            axes[axis] = "model"
        if self.sharded:
            free = [i for i, size in enumerate(shape) if axes[i] is None and size % self.data == 0]
            if free:
                axes[max(free, key=lambda i: shape[i])] = "data"
        return PartitionSpec(*axes)

    @property
    def shared(self) -> bool:
        """Whether other processes have some of the devices."""
        return any(device.process_index != jax.process_index() for device in self.mesh.devices.flat)

    def put(self, tree: PyTree[Any], where: PyTree[Any]) -> Any:
        """Arrays of this process on the devices; of devices that are shared, each process fills its own.

        Args:
            tree: the same arrays in every process.
            where: their shardings, a tree like it.
        """
        if not self.shared:
            return jax.device_put(tree, where)
        return jax.tree.map(_filled, tree, where)

    def state(self, shapes: PyTree[Any]) -> Any:
        """The sharding of every array of a state: arrays named and shaped like a parameter are sharded like
        it."""
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: self._sharding(self.spec(_name(path), leaf.shape)), shapes
        )

    def batch(self, batch: Mapping[str, Any], stacked: bool = False) -> dict[str, NamedSharding]:
        """The sharding of a batch: examples over ``data``. ``stacked``: several batches on a first axis."""
        spec = PartitionSpec(*([None] if stacked else []), "data")
        return {name: self._sharding(spec) for name in batch}

    def _sharding(self, spec: PartitionSpec) -> NamedSharding:
        return NamedSharding(self.mesh, spec)


def _filled(array: np.ndarray | Array, where: NamedSharding) -> jax.Array:
    host = np.asarray(array)
    with jax.transfer_guard("allow"):  # it is meant, but JAX does not see that in a callback
        return jax.make_array_from_callback(host.shape, where, lambda index: host[index])


def _name(path: tuple[Any, ...]) -> str:
    """The parameter that a leaf of the state belongs to: a flat name holds a slash, nothing else does."""
    keys = (str(getattr(part, "key", "")) for part in path)
    return next((key for key in keys if "/" in key), "")
