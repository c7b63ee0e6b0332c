"""`python -m broker_trio` is the command line."""

from broker_trio.cli.main import main

main()
