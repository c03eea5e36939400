"""Evaluation on held-out data, compared with baselines and with the current champion."""
