"""Training: the compiled step and the loop around it, with callbacks, checkpoints and resume."""
