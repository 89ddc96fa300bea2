"""The composition root and its supervision."""
