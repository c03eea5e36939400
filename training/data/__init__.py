"""What networks learn from: files read, cleaned, and cut into windows."""
