"""What comes in: text (and, where a function takes them, pictures) from any container."""
