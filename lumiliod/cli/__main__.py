"""Run ``python -m lumiliod.cli``."""

from lumiliod.cli.main import main

main()
