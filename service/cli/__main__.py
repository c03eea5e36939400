"""`python -m service.cli`: the same as `unroll`."""

from service.cli import main

main()
