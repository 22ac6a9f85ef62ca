"""Studies: several models on the same rows, by successive halving, and which of them to take."""
