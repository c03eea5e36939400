"""How good a network is on data that it has not seen, compared with baselines and with what serves."""
