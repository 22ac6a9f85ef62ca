"""The exercises of the course, by lesson and number; checked by :func:`labkit.check`.

Those with a letter are predictions, made before a cell is run; the last of a lesson may be an open experiment, whose
result must meet a criterion.
"""

from __future__ import annotations

from labkit.course.answers import Exercise
from labkit.course.exercises import applications, foundations, language, practice

EXERCISES: dict[str, Exercise] = {
    **foundations.EXERCISES,
    **language.EXERCISES,
    **practice.EXERCISES,
    **applications.EXERCISES,
}
