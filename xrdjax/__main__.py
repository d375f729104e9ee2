"""`python -m xrdjax` is the command `xrdjax`."""

from xrdjax.cli import main

main()
