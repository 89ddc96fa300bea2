"""The HTTP API on the socket."""
