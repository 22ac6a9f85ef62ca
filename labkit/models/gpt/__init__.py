"""Decoders in the layouts of GPT-2 and Llama."""
