"""The MLflow model registry: references, artifacts on disk, and the store (the only file that imports MLflow)."""
