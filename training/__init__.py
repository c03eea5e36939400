"""Trains a recurrent network with Keras and registers it."""
