"""Conformance suites and fixtures for plugin authors and for our own tests."""
