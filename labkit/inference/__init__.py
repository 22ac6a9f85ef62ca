"""Trained models at work: prediction, generation, export and the HTTP endpoint."""
