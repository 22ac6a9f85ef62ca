"""The sentence that says why something is compiled again."""

from __future__ import annotations

import jax
import pytest

from labkit.train.recompile import signature, why


def text(b, t, kind="int32", split=None):
    return {
        "ids": ((b, t), kind, split), "mask": ((b, t), "bool", split), "label": ((b,), "int32", split),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("known", "now", "said"),
    [
        ([], text(32, 64), "compiled for the first time."),
        (
            [text(32, 16), text(32, 64)], text(32, 72),
            "compiled again: ids, mask changed from [32, 64] to [32, 72] (a length that no bucket has).",
        ),
        (
            [text(32, 64)], text(24, 64),
            "compiled again: ids, mask changed from [32, 64] to [24, 64] (another number of examples); "
            "label changed from [32] to [24] (another number of examples).",
        ),
        ([text(32, 64)], text(32, 64, "int64"), "compiled again: ids changed from int32 to int64."),
        (
            [text(8, 8)], text(8, 8, split="PartitionSpec('data',)"),
            "compiled again: ids, mask, label changed from sharding none to PartitionSpec('data',).",
        ),
        ([text(8, 8)], {**text(8, 8), "types": ((8, 8), "int32", None)}, "compiled again: types is new."),
        ([{**text(8, 8), "rows": 1, "a": 2}], text(8, 8), "compiled again: rows, a are no longer there."),
        ([{**text(8, 8), "unroll": 1}], {**text(8, 8), "unroll": 2}, "compiled again: unroll changed from 1 to 2."),
        ([text(8, 8)], text(8, 8), "compiled again although nothing changed: the compiled program was not kept."),
    ],
)  # fmt: skip
def test_the_sentence(known, now, said):
    assert why(known, now) == said


def test_the_nearest_earlier_signature_is_chosen():
    assert "from [32, 64] to [32, 72]" in why([text(32, 64), text(8, 512), text(32, 8)], text(32, 72))
    assert "changed from int32" in why([text(8, 8), text(9, 9, "int8")], text(8, 8, "int8"))


def test_many_names_are_counted():
    many = {f"p{number}": ((4,), "float32", None) for number in range(9)}
    assert why([many], {name: ((5,), "float32", None) for name in many}).startswith(
        "compiled again: p0, p1, p2 and 6 "
    )


def test_a_signature_of_trees():
    batch = {"ids": jax.ShapeDtypeStruct((2, 3), "int32")}
    found = signature({"w": jax.ShapeDtypeStruct((4,), "float32")}, batch, unroll=2)
    assert found == {"w": ((4,), "float32", ""), "ids": ((2, 3), "int32", ""), "unroll": 2}
    assert signature(batch, batch).keys() == {"ids", "1/ids"}
