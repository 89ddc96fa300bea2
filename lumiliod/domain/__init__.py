"""Nouns, ids, errors and pure rules; standard library only, no I/O."""
