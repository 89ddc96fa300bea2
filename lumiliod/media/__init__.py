"""Understands the bytes of photos, videos and audio, in worker processes."""
