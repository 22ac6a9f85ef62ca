"""Configs: checked, told apart by value, and the same after a trip through TOML."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.core.config import Config, dumps, known_settings, load_file, loads, option
from labkit.core.errors import ConfigError, LabkitError


@dataclass(frozen=True)
class Inner(Config):
    rate: float = option(0.1, "How fast.", low=0, high=1)
    kind: str = option("cosine", choices=("linear", "cosine"))


@dataclass(frozen=True)
class Outer(Config):
    epochs: int = option(3, "Times.", low=1)
    inner: Inner = option(factory=Inner)
    words: tuple[str, ...] = ()
    pair: tuple[int, float] = (1, 2.0)
    maybe: int | None = None
    mode: Literal["a", "b"] = "a"
    flag: bool = False
    size: int | Literal["auto"] = "auto"
    extra: dict[str, Any] = option(factory=dict)
    tree: tuple[Inner, ...] = ()


@dataclass(frozen=True)
class Needy(Config):
    source: str
    count: int = 1


def test_a_config_is_the_same_after_toml() -> None:
    config = Outer(
        2, Inner(0.5, "linear"), ("a", '"b"\n'), (3, 4.5), 7, "b", True, 9, {"k": [1, "x"]}, (Inner(0.25),)
    )
    assert loads(Outer, dumps(config)) == config
    assert loads(Outer, dumps(Outer())) == Outer()


words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)))


@given(
    st.integers(1, 2**40),
    st.floats(0, 1),
    st.lists(words, max_size=4),
    st.none() | st.integers(-(2**40), 2**40),
    st.booleans(),
    st.dictionaries(words, words | st.integers(-9, 9) | st.booleans(), max_size=3),
)
def test_any_values_survive_toml(epochs, rate, texts, maybe, flag, extra) -> None:
    config = Outer(epochs, Inner(rate), tuple(texts), maybe=maybe, flag=flag, extra=extra)
    back = loads(Outer, dumps(config))
    assert back == config
    assert type(back.words) is tuple and type(back.inner.rate) is float and type(back.flag) is bool


def test_none_is_left_out_and_lists_are_plain() -> None:
    values = Outer(words=("x",)).to_dict()
    assert (
        "maybe" not in values
        and values["words"] == ["x"]
        and values["inner"] == {"rate": 0.1, "kind": "cosine"}
    )


def test_a_whole_number_is_accepted_for_a_float_and_a_list_for_a_tuple() -> None:
    config = Outer.from_dict({"inner": {"rate": 1}, "pair": [1, 2], "words": ["x"]})
    assert config.inner.rate == 1.0 and type(config.inner.rate) is float
    assert config.pair == (1, 2.0) and type(config.pair[1]) is float and config.words == ("x",)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"epoch": 1}, "Outer has no setting 'epoch'. Did you mean 'epochs'? It has: epochs, inner"),
        ({"inner": {"rat": 1}}, "Outer.inner has no setting 'rat'. Did you mean 'rate'?"),
        ({"epochs": "3"}, "Outer.epochs = '3' is a str; it must be int."),
        ({"epochs": 1.0}, "Outer.epochs = 1.0 is a float; it must be int."),
        ({"epochs": True}, "Outer.epochs = True is a bool; it must be int."),
        ({"flag": 1}, "Outer.flag = 1 is a int; it must be bool."),
        ({"epochs": 0}, "Outer.epochs = 0 is below the minimum, 1."),
        ({"inner": {"rate": 1.5}}, "Inner.rate = 1.5 is above the maximum, 1."),
        ({"inner": {"rate": float("nan")}}, "Inner.rate = nan is below the minimum, 0."),
        (
            {"inner": {"kind": "cosin"}},
            "Inner.kind = 'cosin' is not one of linear, cosine. Did you mean 'cosine'?",
        ),
        ({"inner": 3}, "Outer.inner = 3 is a int; it must be Inner."),
        ({"mode": "c"}, "Outer.mode = 'c' is not one of a, b."),
        ({"pair": [1]}, "Outer.pair = [1] has 1 values; it must have 2."),
        ({"words": "abc"}, "Outer.words = 'abc' is a str; it must be tuple"),
        ({"words": ["x", 1]}, "Outer.words = 1 is a int; it must be str."),
        ({"size": "big"}, "Outer.size = 'big'"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(values, text) -> None:
    with pytest.raises(ConfigError) as caught:
        Outer.from_dict(values)
    assert text in str(caught.value)


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^Needy: the required setting 'source' is missing\.$"):
        Needy.from_dict({"count": 2})
    assert Needy.from_dict({"source": "x"}) == Needy("x")


def test_the_place_in_the_file_stands_in_the_message() -> None:
    with pytest.raises(ConfigError, match=r"^train has no setting 'epoch'"):
        Outer.from_dict({"epoch": 1}, "train")
    with pytest.raises(ConfigError, match="must be a table of settings, not 3"):
        Outer.from_dict(3, "train")  # type: ignore[arg-type]


def test_broken_toml_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"not valid TOML: .*line 1"):
        loads(Outer, "epochs = x")


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000 + "]" * 5000,
        "[" + "a." * 5000 + "a]",
        "epochs = " + "9" * 5000,
        "\0",
        "epochs = 1\r",
    ],
)
def test_no_toml_raises_anything_but_a_config_error(text) -> None:
    with pytest.raises(ConfigError):
        loads(Outer, text)


def test_a_file_is_named_that_is_not_utf8_or_cannot_be_read(tmp_path) -> None:
    file = tmp_path / "labkit.toml"
    file.write_bytes("name = 'ü'".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"labkit\.toml' is not UTF-8 text \(byte 8\)"):
        load_file(Outer, file)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_file(Outer, tmp_path)
    file.write_text("epochs = 4\n")
    assert load_file(Outer, file) == Outer(epochs=4)


@given(st.text(st.characters(exclude_categories=[])))
def test_a_text_survives_toml_or_is_refused(text) -> None:
    config = Outer(words=(text,), extra={text: text})
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        with pytest.raises(ConfigError, match="UTF-8 cannot represent"):
            dumps(config)
    else:
        assert loads(Outer, dumps(config)) == config


def test_values_given_in_python_are_checked_too() -> None:
    with pytest.raises(ConfigError, match="below the minimum"):
        Outer(epochs=0)
    with pytest.raises(ConfigError, match="is not one of linear, cosine"):
        Inner().replace(kind="square")


def test_replace_copies_and_knows_its_names() -> None:
    config = Outer()
    assert config.replace(epochs=5) == Outer(epochs=5) and config.epochs == 3
    with pytest.raises(ConfigError, match=r"Outer has no setting 'epoch'\. Did you mean 'epochs'\?"):
        config.replace(epoch=5)


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Outer().epochs = 5  # type: ignore[misc]


def test_an_option_keeps_what_a_form_needs() -> None:
    meta = {field.name: field.metadata for field in dataclasses.fields(Inner)}
    assert meta["rate"] == {"help": "How fast.", "choices": None, "low": 0, "high": 1}
    assert meta["kind"]["choices"] == ("linear", "cosine")


def test_every_error_is_a_labkit_error_and_a_value_error() -> None:
    assert issubclass(ConfigError, LabkitError) and issubclass(ConfigError, ValueError)


def test_an_unknown_setting_given_in_python_gets_the_nearest_name() -> None:
    with pytest.raises(
        ConfigError, match=r"Outer has no setting 'epoch'\. Did you mean 'epochs'\? It has: epo"
    ):
        Outer(epoch=5)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="Needy has at most 2 settings, got 3"):
        Needy("a", 1, 2)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"Outer\.epochs = 'three' is a str; it must be a number"):
        Outer(epochs="three")  # type: ignore[arg-type]


def test_a_config_is_copied_and_pickled() -> None:
    config = Needy("x", 2)
    assert copy.deepcopy(config) == copy.copy(config) == pickle.loads(pickle.dumps(config)) == config


def test_a_function_names_the_nearest_of_its_settings() -> None:
    @known_settings
    def work(rows: int, *, near: bool = False) -> int:
        return rows + near

    assert work(1, near=True) == work(rows=2) == 2
    with pytest.raises(
        ConfigError, match=r"work has no setting 'naer'\. Did you mean 'near'\? It has: rows, near\."
    ):
        work(1, naer=True)  # type: ignore[call-arg]
