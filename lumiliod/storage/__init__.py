"""Repositories on disk: layouts, backends, staging, derivatives."""
