"""The MLflow model registry: references, version folders, and the store.

MLflow itself is imported in `store`, `run`, `mlmodel` and `mlflow_errors`, and there only inside functions.
"""
