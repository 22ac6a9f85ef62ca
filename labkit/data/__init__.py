"""Rows: load, clean, split, cut into tokens, put into batches."""
