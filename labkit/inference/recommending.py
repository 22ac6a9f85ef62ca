"""Recommendations: the items that a user may choose next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.core.errors import DataError, nearest
from labkit.data.interactions import Histories
from labkit.data.rows import Rows
from labkit.i18n import _
from labkit.inference.pipeline import Pipeline
from labkit.tasks.recommend import Recommend, Recommendation
from labkit.train.recommend_processor import RecommendProcessor

if TYPE_CHECKING:
    import pandas as pd


class RecommendPipeline(Pipeline):
    """A model of the task "recommend" that a run has written or exported.

    Attributes:
        items, titles: the catalogue, in the order of the scores.
    """

    task = Recommend
    head: Recommendation
    processor: RecommendProcessor

    def __init__(self, *given: Any, **settings: Any):
        super().__init__(*given, **settings)
        self._answer = self.compiled(self.head.scores)
        self.items, self.titles = self.processor.catalogue.items, self.processor.catalogue.titles

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self.items):,} items>"

    def _used(self, module: Any) -> Any:
        return module

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Scores f32[n, items] after histories, each the numbers 1 … items of a user's items in the order of time."""
        found = np.zeros((len(histories), len(self.items)), np.float32)
        for index, part in self._results(self._answer, self.processor.to_predict(histories)):
            found[index] = part[:, 1:]
        return found

    def recommend(self, items: Sequence[str], count: int = 10, seen: bool = False) -> pd.DataFrame:
        """The items that come next after some items.

        Args:
            items: names or titles, in the order of time.
            count: of recommendations.
            seen: whether to recommend what is among them, too.

        Returns:
            ``item``, ``title`` and ``probability`` (among all items), the best first.

        Raises:
            DataError: an item is not in the catalogue, or there is none.
        """
        known = self.processor.numbers
        titled = {title: number for number, title in enumerate(self.titles, start=1)}
        history = []
        for name in [items] if isinstance(items, str) else items:
            number = known.get(str(name), titled.get(str(name)))
            if number is None:
                raise DataError(
                    _("the model does not know the item {name!r}.{hint} It knows {count:,} items."),
                    name=str(name), hint=nearest(str(name), [*titled, *known]), count=len(self.items),
                )  # fmt: skip
            history.append(number)
        return self._ranked(np.array(history, np.int32), count, seen)

    def for_user(self, rows: Rows, user: str, count: int = 10, seen: bool = False) -> pd.DataFrame:
        """The same for a user of rows. Raises :class:`DataError` for one of whom they know no item."""
        histories = Histories.of(list(rows.splits.values()), self.processor.numbers)
        if str(user) not in histories.users:
            raise DataError(
                _("the rows have no user {user!r}.{hint}"),
                user=str(user),
                hint=nearest(str(user), histories.users),
            )
        found = histories.of_user(histories.users.index(str(user)))
        return self._ranked(found[found > 0], count, seen)

    def for_users(
        self, rows: Rows, users: Sequence[str], count: int = 10, seen: bool = False
    ) -> pd.DataFrame:
        """The same for several users, with a first column ``user``. Raises as :meth:`for_user`."""
        import pandas as pd

        found = [self.for_user(rows, user, count, seen).assign(user=user) for user in users]
        frame = pd.concat(found, ignore_index=True)
        return frame[["user", *(name for name in frame.columns if name != "user")]]

    def _ranked(self, history: np.ndarray, count: int, seen: bool) -> pd.DataFrame:
        import pandas as pd

        if not len(history):
            raise DataError(_("there is no item to start from: give one that the model knows."))
        (scores,) = self.scores([history]).astype(np.float64)
        chance = np.exp(scores - scores.max())
        chance /= chance.sum()
        if not seen:
            scores[history - 1] = -np.inf
        best = np.argsort(-scores, kind="stable")[:count]
        best = best[np.isfinite(scores[best])]
        return pd.DataFrame({
            "item": np.array(self.items, object)[best], "title": np.array(self.titles, object)[best],
            "probability": chance[best],
        })  # fmt: skip

    __call__ = recommend
