"""What is shown over a screen until it is answered."""
