"""Random changes of a disk beside a real daemon that watches it, and what the two say of it."""
