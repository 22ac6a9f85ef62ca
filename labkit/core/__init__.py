"""Settings, names, errors and the cache: the lowest room. Standard library and NumPy only."""
