"""MLflow's deployment plugin, and the formats that MLflow's commands read and write."""
