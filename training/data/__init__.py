"""Training data: files are read, cleaned, and cut into windows."""
