"""Keras and TensorFlow, imported quietly; other files take them from here."""

from training.quiet import quiet

with quiet():  # TensorFlow reports on hardware that nobody asked about
    import keras
    import tensorflow as tf

__all__ = ["keras", "tf"]
