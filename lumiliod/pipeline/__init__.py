"""One file per job kind: what happens to an original, step by step."""
