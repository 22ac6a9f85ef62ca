"""Runs: the store of their records, their processes, and the handle by which they are watched and steered."""
