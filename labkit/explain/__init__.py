"""Attributions: which words, pixels or features a prediction depends on."""
