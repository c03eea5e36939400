"""The process that follows the registry and keeps the workers: what is served, and by whom."""
