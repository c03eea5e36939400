"""Engines, which compute networks: each is proven against NumPy, and the fastest is chosen."""
