"""The command line: talks to the API only."""
