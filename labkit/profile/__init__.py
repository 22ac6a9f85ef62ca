"""Cost of a training step: FLOPs, memory and time, on this machine and on other accelerators."""
