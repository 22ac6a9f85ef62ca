"""Benchmarks of labkit's training engine, run by ``labkit bench``.

Every figure is one function, in a file by topic, that returns a dict with its ``value``. What runs
side by side with a peer is a *worker*: a process of its own, with its own interpreter where need be, that the driver
lets take some steps in turn with the other. Workers of peers import nothing of labkit.
"""
