"""The ground floor: settings, names, errors and the cache. Standard library and NumPy only."""
