"""Prefix beam search over the frames of connectionist temporal classification, with a language model of characters
(Hannun et al. 2014, arXiv 1408.2873)."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from labkit.data.batching.speech import BLANK
from labkit.data.text.character_ngram import END, CharacterNgram

_NEVER = -np.inf


class Hypothesis(NamedTuple):
    """A transcript, and the logarithm of its score."""

    text: str
    score: float


def prefix_beam_search(
    logs: np.ndarray,
    characters: tuple[str, ...],
    beams: int,
    language: CharacterNgram | None = None,
    alpha: float = 0.5,
    beta: float = 0.0,
    least: float = -12.0,
) -> list[Hypothesis]:
    """The likeliest transcripts of one sound, best first.

    Unlike greedy decoding it adds up the probabilities of all alignments of a transcript.

    Args:
        logs: f32[t, v], log-probabilities of the blank (0) and the characters.
        characters: of the outputs from 1.
        beams: transcripts that are followed.
        language: weighs each new character, and the end.
        alpha: weight of the language model's log-probabilities.
        beta: added for each character; above 0 it favours longer transcripts.
        least: characters below this log-probability in a frame are not tried there.
    """
    # Prefix → log-probability of its alignments that end in a blank, and of those that do not.
    alive: dict[str, tuple[float, float]] = {"": (0.0, _NEVER)}
    bonus: dict[str, float] = {"": 0.0}
    for frame in logs.astype(np.float64):
        blank = frame[BLANK]
        tried = [
            (characters[at - 1], frame[at]) for at in np.flatnonzero(frame > least).tolist() if at != BLANK
        ]
        new: defaultdict[str, list[float]] = defaultdict(lambda: [_NEVER, _NEVER])
        for prefix, (ended, going) in alive.items():
            both, same = np.logaddexp(ended, going), new[prefix]
            same[0] = np.logaddexp(same[0], both + blank)
            for character, log in tried:
                if prefix.endswith(character):  # one character: the end of the prefix
                    same[1] = np.logaddexp(same[1], going + log)
                    before = ended  # a blank lies between two equal characters
                else:
                    before = both
                if before == _NEVER:
                    continue
                longer = prefix + character
                if longer not in bonus:
                    said = 0.0 if language is None else alpha * language.log_probability(prefix, character)
                    bonus[longer] = bonus[prefix] + said + beta
                other = new[longer]
                other[1] = np.logaddexp(other[1], before + log)
        totals = {each: np.logaddexp(ended, going) + bonus[each] for each, (ended, going) in new.items()}
        ranked = sorted(totals, key=lambda each: (-totals[each], each))[:beams]
        alive = {each: (new[each][0], new[each][1]) for each in ranked}
    ends = {each: 0.0 if language is None else alpha * language.log_probability(each, END) for each in alive}
    scored = [
        Hypothesis(each, float(np.logaddexp(*alive[each]) + bonus[each] + ends[each])) for each in alive
    ]
    return sorted(scored, key=lambda each: (-each.score, each.text))
