"""Runs any job; knows no photograph."""
