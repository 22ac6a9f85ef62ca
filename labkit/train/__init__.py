"""The compiled step and the training loop around it, with checkpoints and resume."""
