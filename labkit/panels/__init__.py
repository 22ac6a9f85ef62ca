"""What is seen: panels in a notebook, a progress bar in a terminal. They read the run store and command it."""
