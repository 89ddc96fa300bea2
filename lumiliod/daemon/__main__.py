"""``python -m lumiliod.daemon``: the same as ``lumiliod``."""

from lumiliod.daemon.main import main

main()
