"""Evaluation: scores with intervals, baselines, comparison, calibration, model selection."""

from labkit.core.extras import require

require("train")
