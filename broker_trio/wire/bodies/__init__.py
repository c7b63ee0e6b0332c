"""Bodies of requests and answers, one module per family; codec.py says how they are read."""
