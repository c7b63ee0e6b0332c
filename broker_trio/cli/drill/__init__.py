"""`broker-trio drill`: break a cluster on purpose, and prove that it recovers without a loss."""
