"""MLflow's deployment plugin, and the input and output formats of MLflow's commands."""
