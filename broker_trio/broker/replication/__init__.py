"""A master and its slave: who may write, and how the bytes get there."""
