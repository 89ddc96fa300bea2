"""Whom ``bench/scan.py`` measures against."""
