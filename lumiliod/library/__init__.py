"""What a person asks for now."""
