"""Data: loading, cleaning, splitting, tokenization, batching."""
