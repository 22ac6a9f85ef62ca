"""Configs, registries, errors and the cache: the lowest layer. Standard library and NumPy only."""
