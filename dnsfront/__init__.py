"""A consistent-hashing DNS front end: names steered to their owner in the kernel."""

__version__ = "0.1.0"
