"""Batches of fixed shapes: buckets, packing, arrays, pairs and windows."""
