"""Shape annotations (jaxtyping letters) used in the whole package and checked in tests.

====== ==============================  ====== ==============================
letter meaning                         letter meaning
====== ==============================  ====== ==============================
b      examples in a batch             n      examples in a data set
t      tokens (time) in a row          c      classes
d      width of the model              v      vocabulary
h      attention heads                 k      width of one head (d / h)
m      width of the feed-forward part  L      layers, the first axis of stacked parameters
====== ==============================  ====== ==============================

``Float[Array, "b t d"]`` is a floating-point array of those three axes. Importing this module loads JAX.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from jax import Array
from jaxtyping import Bool, Float, Int, PRNGKeyArray

#: The size of an axis: an int, or a symbolic size of ``jax.export`` while a function is traced for an export.
Size: TypeAlias = Any

__all__ = ["Array", "Bool", "Float", "Int", "PRNGKeyArray", "Size"]
