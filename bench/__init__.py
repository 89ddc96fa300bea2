"""Measurements; each module prints a table and, last, one JSON object."""
