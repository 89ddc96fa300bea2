"""What bench/jobs.py measures, and against whom."""
