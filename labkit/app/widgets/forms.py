"""Forms generated from configs: a control per field with help text, choices and range."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from labkit.core import html as pieces
from labkit.core.config import Config
from labkit.core.errors import ConfigError
from labkit.i18n.labels import LABELS
from labkit.viz.words import TABLE, help_of, label_of, message

if TYPE_CHECKING:
    from labkit.app.panel import Panel

#: Fields that are sliders: least, greatest and step; a value beyond them widens the slider.
SLIDERS = {
    "epochs": (1, 30, 1), "batch_size": (4, 256, 4), "depth": (1, 24, 1), "width": (32, 1024, 32),
    "max_length": (16, 512, 16), "buckets": (1, 16, 1), "patience": (0, 20, 1), "filters": (16, 512, 16),
    "embedding": (16, 512, 16), "base_width": (8, 128, 8), "encoder_depth": (1, 12, 1), "decoder_depth": (1, 12, 1),
}  # fmt: skip
#: Fields that may be left out, whose value is known nonetheless: a number, as others are.
KNOWN = ("batch_size", "epochs")
#: Fields that the data decide, or that are written elsewhere.
LEFT_OUT = ("vocab_size", "input_shape", "cardinalities", "preset", "weights", "optimizer", "privacy")
_MOST = 10**9


class Form:
    """Controls for the fields of a config.

    Args:
        panel: whose callbacks these are.
        config: the values to begin with.
        changed: called with ``{field: value}`` when a person changes one.
        names: the fields, in this order; default: all but :data:`LEFT_OUT`.

    Attributes:
        root: the widget.
        controls: field → control.
    """

    def __init__(
        self,
        panel: Panel,
        config: Config,
        changed: Callable[[dict[str, Any]], None],
        names: Sequence[str] | None = None,
    ):
        self.panel = panel
        hints = typing.get_type_hints(type(config))
        self.hints = {name: _plain_hint(hint) for name, hint in hints.items()}
        self.open = {
            name for name, hint in hints.items() if type(None) in typing.get_args(hint)
        }  # may be left out
        self.open -= set(KNOWN)
        self.fields = {field.name: field for field in dataclasses.fields(config)}  # type: ignore[arg-type]
        values = config.values()
        shown = [name for name in self.fields if name not in LEFT_OUT] if names is None else list(names)
        self.controls = {name: self._control(self.fields[name], values[name]) for name in shown}
        before = len(panel.callbacks)
        for name, control in self.controls.items():
            panel.on_change(control, lambda value, name=name: changed({name: self.value_of(name, value)}))
        self.callbacks = panel.callbacks[before:]
        self.root = widgets.HBox(
            [
                hinted(control, help_of(self.fields[name], panel.state.language))
                for name, control in self.controls.items()
            ]
        )
        self.root.add_class("lk-form")
        self.root.add_class("lk-fields")

    def fill(self, config: Config, locked: Sequence[str] = ()) -> None:
        """Show the values of a config of the same class; ``locked`` fields cannot be changed."""
        values = config.values()
        with self.panel.filling():
            for name, control in self.controls.items():
                value = values[name]
                if isinstance(control, widgets.IntSlider):
                    control.max, control.min = max(control.max, value), min(control.min, value)
                control.value = _text_of(value) if isinstance(control, widgets.Text) else value
                control.disabled = name in locked

    def _control(self, field: dataclasses.Field[Any], value: Any) -> widgets.Widget:
        language, name = self.panel.state.language, field.name
        said = {"description": label_of(name, language), "tooltip": help_of(field, language)}
        low, high, kind = field.metadata.get("low"), field.metadata.get("high"), self.hints[name]
        if choices := field.metadata.get("choices"):
            options = [(self._choice(str(choice)), choice) for choice in choices]
            return widgets.Dropdown(options=options, value=value, **said)
        if kind is bool:
            return widgets.Checkbox(value, indent=False, **said)
        if kind is int and name in SLIDERS and name not in self.open and value is not None:
            least, most, step = SLIDERS[name]
            span = {"min": min(max(least, int(low or least)), value), "max": max(most, value), "step": step}
            return widgets.IntSlider(value, continuous_update=False, **span, **said)
        if kind is int and name not in self.open and value is not None:
            return widgets.BoundedIntText(
                value, int(low if low is not None else -_MOST), int(high or _MOST), **said
            )
        if kind is float and low == 0 and high in (0.9, 1.0):
            return widgets.FloatSlider(value, min=low, max=high, step=0.01, continuous_update=False, **said)
        return widgets.Text(_text_of(value), continuous_update=False, **said)

    def _choice(self, value: str) -> str:
        """What a value of a setting is called; by itself where the table of words has nothing."""
        if not value:
            return self.panel.word("none")
        return self.panel.word(f"choice_{value}") if f"choice_{value}" in TABLE else value

    def value_of(self, name: str, value: Any) -> Any:
        """What a control holds, as the field wants it. Raises :class:`ConfigError` for a text that is none."""
        if not isinstance(self.controls[name], widgets.Text):
            return value
        kind, text = self.hints[name], value.strip()
        if not text and self.fields[name].default is None:
            return None
        try:
            if typing.get_origin(kind) is tuple:
                each = typing.get_args(kind)[0]
                return tuple(
                    each(part.strip()) for part in text.replace("，", ",").split(",") if part.strip()
                )
            return kind(text) if kind in (int, float) else text
        except ValueError:
            raise ConfigError(
                message("not_a_value", name=LABELS.get(name, name), value=repr(value))
            ) from None


def hinted(control: widgets.DOMWidget, text: str) -> widgets.VBox:
    """A control with its help below it; tooltips alone are not shown by every control."""
    hint = widgets.HTML(f"<small>{pieces.safe(text)}</small>")
    hint.add_class("lk-hint")
    field = widgets.VBox([control, hint])
    field.add_class("lk-field")
    return field


def _text_of(value: object) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain_hint(hint: object) -> Any:
    """``int`` of ``int | None``."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint
