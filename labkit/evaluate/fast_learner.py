"""A classifier that is fitted in seconds: logistic regression on texts or pictures, gradient boosting on tables."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from labkit.core.errors import DataError
from labkit.evaluate.baselines import logistic, majority, plain_inputs, texts_of, tfidf_logistic
from labkit.evaluate.boosting import one_thread
from labkit.hub.samples import is_cached
from labkit.i18n import _
from labkit.i18n.message import Message
from labkit.inference.embedding import EmbeddingPipeline

if TYPE_CHECKING:
    from labkit.data.rows import Rows

#: Labelled rows from which on boosting is used for tables; below, logistic regression.
_ENOUGH = 200
#: Labelled texts up to which embeddings alone are better than with word counts (144: 0.71 against 0.69 accuracy on
#: film reviews; 400: 0.75 against 0.77).
FEW_LABELS = 300
#: Digest of an encoder and its texts → their embeddings, and how many are remembered.
_EMBEDDED: dict[bytes, np.ndarray] = {}
_REMEMBERED = 2
#: Texts by which their language is judged.
LOOKED_AT = 500
#: The encoder is chosen by labkit; share of letters beyond ASCII from which texts are not taken for English.
AUTO, OTHER = "auto", 0.05


class FastLearner:
    """Probabilities of rows by a learner fitted on others of them, all splits one after the other.

    Texts: logistic regression on TF-IDF; with an ``encoder`` its mean with logistic regression on sentence
    embeddings, and with fewer than 300 labels the latter alone. Tables: histogram gradient boosting. Pictures and
    sounds: logistic regression.

    Args:
        rows: all of them.
        encoder: pretrained sentence encoder, such as "minilm-l6" or "e5-small"; only for texts. "auto": the one of
            :func:`cached_encoder`, None: none.
        seed: of the fits.

    Attributes:
        name: what the learner is, in words.

    Raises:
        DataError: an encoder is given for rows without texts.
    """

    def __init__(self, rows: Rows, encoder: str | None = None, seed: int = 0):
        self.classes, self.seed, self.modality = rows.schema.classes, seed, rows.schema.modality
        self.texts: list[str] = []
        self.inputs: np.ndarray | None = None
        if self.modality == "text":
            for part in rows.splits.values():
                self.texts += texts_of(part)
        encoder = cached_encoder(rows) if encoder == AUTO else encoder
        self.name = _named(self.modality, encoder)
        if self.modality == "text":
            if encoder:
                self.inputs = _embedded(encoder, self.texts)
        elif encoder:
            raise DataError(
                _("encoder = {encoder!r} needs texts; these rows are of the modality {modality!r}."),
                encoder=encoder, modality=self.modality,
            )  # fmt: skip
        else:
            parts = [plain_inputs(part, rows.spec) for part in rows.splits.values() if len(part)]
            self.inputs = np.concatenate([part.reshape(len(part), -1) for part in parts])

    def predict(self, train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Probabilities f32 [n, c] of the rows ``test``, fitted on the rows ``train`` with ``labels``."""
        if len(np.unique(labels)) < 2:
            return majority(labels, len(test), self.classes)
        if self.modality == "text":
            if self.inputs is not None and len(train) < FEW_LABELS:
                return self._fitted(LogisticRegression(max_iter=500), train, labels, test)
            known, asked = ([self.texts[place] for place in part.tolist()] for part in (train, test))
            found = tfidf_logistic(known, labels, asked, self.classes, self.seed)
            if self.inputs is None:
                return found
            return (found + self._fitted(LogisticRegression(max_iter=500), train, labels, test)) / 2
        if self.modality == "features" and len(train) >= _ENOUGH:
            return self._fitted(HistGradientBoostingClassifier(random_state=self.seed), train, labels, test)
        assert self.inputs is not None
        return logistic(self.inputs[train], labels, self.classes)[0](self.inputs[test])

    def _fitted(
        self,
        model: LogisticRegression | HistGradientBoostingClassifier,
        train: np.ndarray,
        labels: np.ndarray,
        test: np.ndarray,
    ) -> np.ndarray:
        assert self.inputs is not None
        found = np.zeros((len(test), len(self.classes)), np.float32)
        with one_thread():
            model.fit(self.inputs[train], labels)
            if len(test):
                found[:, model.classes_] = model.predict_proba(self.inputs[test])
        return found


def cached_encoder(rows: Rows) -> str | None:
    """The sentence encoder that makes doubtful labels easier to find and needs no download: for English "minilm-l6",
    for other languages "e5-small"; None for rows without texts, for other encoders than these, or where it is not in
    the cache."""
    if rows.schema.modality != "text":
        return None
    texts = next(iter(rows.splits.values()))["text"][:LOOKED_AT]
    letters = "".join(text[:200] for text in texts)
    others = sum(not letter.isascii() and letter.isalpha() for letter in letters)
    name = "minilm-l6" if others <= OTHER * max(1, sum(map(str.isalpha, letters))) else "e5-small"
    return name if is_cached(name) else None


def _named(modality: str, encoder: str | None) -> Message:
    if modality == "text" and encoder:
        return _("TF-IDF and sentence embeddings of {encoder}", encoder=encoder)
    if modality == "text":
        return _("TF-IDF alone; more wrong labels are found with the sentence encoder minilm-l6 or e5-small")
    return _("gradient boosting") if modality == "features" else _("logistic regression")


def _embedded(encoder: str, texts: list[str]) -> np.ndarray:
    """Sentence embeddings f32 [n, d]; those of the last texts stay in memory, since labelling asks for them again
    after every few labels."""
    digest = hashlib.sha256(encoder.encode())
    for text in texts:
        digest.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    key = digest.digest()
    if key not in _EMBEDDED:
        while len(_EMBEDDED) >= _REMEMBERED:
            _EMBEDDED.pop(next(iter(_EMBEDDED)))
        _EMBEDDED[key] = np.asarray(EmbeddingPipeline(encoder).embed(texts))
    return _EMBEDDED[key]
