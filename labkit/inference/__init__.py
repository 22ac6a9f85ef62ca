"""Inference: prediction, generation, export and the HTTP endpoint."""
