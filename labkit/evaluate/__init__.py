"""Evaluation: scores with intervals, baselines, comparison, calibration, model selection."""
