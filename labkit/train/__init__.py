"""The compiled step, the loop around it, and the run store through which it is watched and steered."""
