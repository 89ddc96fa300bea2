"""Lumilio's daemon: a photo, video and audio library that loses nothing."""

__version__ = "0.1.0"
