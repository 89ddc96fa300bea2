"""What ``bench/restarts.py`` is made of."""
