"""The parts of ``bench/ingest.py``, and what other benches need of them."""
