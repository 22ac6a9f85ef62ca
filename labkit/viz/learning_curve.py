"""Figure of a learning curve: scores, the fitted law, and its band."""

from __future__ import annotations

import numpy as np

from labkit.i18n import _, translate
from labkit.i18n.labels import score_name
from labkit.search.learning_curve import MeasuredCurve
from labkit.viz.figure import Axis, FigureSpec, Line, Plot, Rule
from labkit.viz.words import language as language_of

#: Places at which the law is drawn.
PLACES = 60


def figure(curve: MeasuredCurve, language: str | None = None) -> FigureSpec:
    """Scores over the number of training rows, up to four times as many; a rule is at all rows."""
    language = language_of(language)
    sizes = curve.law.sizes
    places = np.geomspace(sizes[0], curve.law.farthest, PLACES)
    law, low, high = np.array([curve.law.at(place) for place in places]).T
    band = translate(_("the band"), language)
    marks = [
        Rule((float(sizes[-1]), float(sizes[-1])), note=f"{int(sizes[-1]):,}"),
        Line(places, low, band, 3, "dot"),
        Line(places, high, "", 3, "dot"),
        Line(places, law, translate(_("power law"), language), 1),
        Line(
            curve.points["rows"].to_numpy(float), curve.points["score"].to_numpy(float),
            translate(_("trainings"), language), 2, joined=False, marker="circle",
        ),
    ]  # fmt: skip
    x = Axis(translate(_("training rows"), language), log=True)
    y = Axis(translate(score_name(curve.metric), language))
    return FigureSpec([Plot(marks, x=x, y=y)], translate(curve.sentence(), language), 620, 280)
