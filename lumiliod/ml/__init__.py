"""Models as plugins; optional, never mandatory."""
