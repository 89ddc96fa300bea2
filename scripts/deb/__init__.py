"""The Debian package: what goes into it beside wheels, and the test that installs it."""
