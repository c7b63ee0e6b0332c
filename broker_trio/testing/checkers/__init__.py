"""Judges of a run: each looks at the record of what clients saw, for one kind of broken promise."""
