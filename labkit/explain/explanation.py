"""Explanation objects and their notebook display: coloured words, bars, weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from labkit.core.text import escape, visible
from labkit.data.cell_values import Cell

#: Red, green, blue of what speaks for a class, and against it: Okabe and Ito's blue and vermilion.
FOR, AGAINST = "0,114,178", "213,94,0"


class Word(NamedTuple):
    """A word of a text: what it is, of which text (0, or 1 of a pair), its characters, and its tokens in the
    row."""

    text: str
    part: int
    start: int
    end: int
    tokens: np.ndarray


@dataclass(frozen=True, eq=False)
class Explanation:
    """What speaks for (above 0) and against (below 0) one class in one example.

    Attributes:
        method: how it was found.
        target: the class.
        probability: class → probability.
        values: float64, a value for every word [w], or of the shape of the picture or of the features.
        whole, empty: log-odds of the class for the example and for the blank one (NaN where no blank one was
        used).
        gap: the sum of ``values`` minus (``whole`` - ``empty``): what the sum along the path missed (NaN
        likewise).
        words: of a text.
        inputs: the picture [height, width, channels] or the features [f] that the model read; None for texts.
        cells: of features, the columns of the table with their values, where their names are known.
        number: whether ``values`` are in the units of a predicted number instead of log-odds.
    """

    method: str
    target: str
    probability: dict[str, float]
    values: np.ndarray
    whole: float
    empty: float
    gap: float
    words: tuple[Word, ...] = ()
    inputs: np.ndarray | None = None
    cells: tuple[Cell, ...] = ()
    number: bool = False

    @property
    def map(self) -> np.ndarray:
        """Of a picture: values summed over the channels, [height, width]."""
        return self.values.sum(-1) if self.values.ndim == 3 else self.values

    @property
    def effects(self) -> np.ndarray:
        """A value for each of :attr:`cells`: the sum over the features of the column."""
        return np.asarray([self.values[list(cell.places)].sum() for cell in self.cells], np.float64)

    def table(self) -> pd.DataFrame:
        """Of a text or of features: a row for each, in its order; of the columns of a table also the cell."""
        if self.cells:
            names, cells = zip(*((cell.column, cell.value) for cell in self.cells), strict=True)
            return pd.DataFrame({"part": list(names), "cell": list(cells), "value": self.effects})
        named = [word.text for word in self.words] if self.words else range(self.values.size)
        return pd.DataFrame({"part": list(named), "value": self.values.reshape(-1)})

    def __repr__(self) -> str:
        named = [f"{cell.column}={cell.value}" for cell in self.cells] or [
            repr(word.text) for word in self.words
        ]
        parts = zip(named, self.effects if self.cells else self.values, strict=False)
        top = sorted(parts, key=lambda pair: -abs(pair[1]))[:5]
        style = "+.4g" if self.number else "+.3f"
        said = ", ".join(f"{visible(name, 60)} {value:{style}}" for name, value in top)
        gap = "" if np.isnan(self.gap) else f", gap {self.gap:+.2g} of {self.whole - self.empty:+.3g}"
        answer = f"{self.probability[self.target]:{'.6g' if self.number else '.3f'}}"
        return f"<{self.target} {answer} by {self.method}: {said or self.values.shape}{gap}>"

    def marked(self) -> str:
        """The words as HTML, each with a background that says how much it speaks for or against; text is
        escaped."""
        most = float(np.abs(self.values).max(initial=0.0)) or 1.0
        pieces, part, end = [], 0, 0
        for word, value in zip(self.words, self.values, strict=True):
            if word.part != part:
                pieces.append("<br>")
            elif word.start > end:
                pieces.append(" ")
            part, end = word.part, word.end
            share = abs(float(value)) / most
            colour = f"rgba({FOR if value > 0 else AGAINST},{0.6 * share:.2f})"
            under = "solid" if value > 0 else "dashed"
            edge = f"border-bottom:2px {under} rgba({FOR if value > 0 else AGAINST},{share:.2f})"
            text = escape(visible(word.text))
            pieces.append(f'<span style="background:{colour};{edge}" title="{value:+.4f}">{text}</span>')
        return f'<span class="mathjax_ignore tex2jax_ignore" style="line-height:2">{"".join(pieces)}</span>'

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        bundle = {"text/plain": repr(self)}
        if self.words:
            chance = f"{escape(self.target)} {self.probability[self.target]:.3f}"
            gap = "" if np.isnan(self.gap) else f", gap {self.gap:+.2g}"
            bundle["text/html"] = f"<div>{chance}{gap}</div><div>{self.marked()}</div>"
        return bundle


@dataclass(frozen=True, eq=False)
class AttentionWeights:
    """Attention over one text.

    Attributes:
        tokens: [t], special ones included.
        weights: float32 [layers, heads, t, t]; a row says how much the token looks at each, and sums to 1.
            Of cross-attention [layers, heads, t, s]: how much a target token looks at each source token.
        source: [s], the tokens of the source; () where ``tokens`` look at each other.
    """

    tokens: tuple[str, ...]
    weights: np.ndarray
    source: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The tokens that are looked at."""
        return self.source or self.tokens

    def __repr__(self) -> str:
        layers, heads = self.weights.shape[:2]
        return f"<attention: {layers} layers of {heads} heads over {len(self.columns)} tokens>"

    def table(self, layer: int, head: int | None = None) -> pd.DataFrame:
        """One layer's weights of one head, or their mean, token by token."""
        weights = self.weights[layer].mean(0) if head is None else self.weights[layer, head]
        names = pd.Index(self.tokens, name="token")
        return pd.DataFrame(weights, index=names, columns=list(self.columns))
