"""What a step costs: operations, memory and time, on this machine and on named accelerators."""
