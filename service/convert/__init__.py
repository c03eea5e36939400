"""Converts model files of other kinds into `.keras` files of Keras 3, without Keras.

What comes in is hostile until read, under the limits that `.keras` files have. What goes out is a standard file that
Keras and MLflow open, with the weights as they were trained.
"""
