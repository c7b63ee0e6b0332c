"""`broker-trio up`: a whole cluster of child processes in one terminal."""
