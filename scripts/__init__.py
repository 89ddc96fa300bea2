"""Programs of this checkout: what the Makefile calls."""
