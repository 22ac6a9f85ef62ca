"""The words of the steps Train, Judge and Use."""

from __future__ import annotations

#: key → (English, Simplified Chinese).
TABLE: dict[str, tuple[str, str]] = {
    "step_train": ("Train", "训练"),
    "step_judge": ("Judge", "评判"),
    "step_use": ("Use", "使用"),
}
