"""The terminal console: shows what the daemon's API says, nothing else."""
