"""Wire types of the HTTP API, shared by the server, the command line and the console."""
