"""Drills that prove recovery time and zero loss: what is decided, without doing anything."""
