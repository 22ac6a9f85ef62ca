"""Models of time series: DLinear and PatchTST."""
