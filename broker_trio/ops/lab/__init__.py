"""A lab of real hosts on one machine: what it consists of, decided without touching anything."""
