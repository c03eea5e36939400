"""The supervisor: the process that follows the registry and keeps the workers."""
