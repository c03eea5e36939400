"""Recurrent cells as the papers write them, one sequence and one timestep at a time: an oracle to read in a minute.

Nothing here is quick, and nothing is shared with the product: no memory that is reused, no products put together, no
layout but the one on paper. Vectors are rows; kernels are Keras's, gates side by side.
"""

import numpy as np


def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def simple_rnn(x, h, w):
    """h[t] = tanh(x[t]·W + h[t-1]·U + b); J. Elman, Finding Structure in Time, 1990."""
    return (np.tanh(x @ w["kernel"] + h[0] @ w["recurrent_kernel"] + w["bias"]),)


def gru(x, h, w):
    """K. Cho et al. 2014, arXiv:1406.1078v1: the reset gate acts on the state; z keeps the old state, as in Keras."""
    (h,) = h
    wz, wr, wc = np.split(w["kernel"], 3, axis=1)
    uz, ur, uc = np.split(w["recurrent_kernel"], 3, axis=1)
    bz, br, bc = np.split(w["bias"], 3)
    z = sigmoid(x @ wz + h @ uz + bz)
    r = sigmoid(x @ wr + h @ ur + br)
    c = np.tanh(x @ wc + (r * h) @ uc + bc)
    return (z * h + (1 - z) * c,)


def gru_reset_after(x, h, w):
    """The same in v3: the reset gate acts on the product with the state, which has a bias of its own."""
    (h,) = h
    wz, wr, wc = np.split(w["kernel"], 3, axis=1)
    uz, ur, uc = np.split(w["recurrent_kernel"], 3, axis=1)
    (bz, br, bc), (dz, dr, dc) = (np.split(bias, 3) for bias in w["bias"])
    z = sigmoid(x @ wz + bz + h @ uz + dz)
    r = sigmoid(x @ wr + br + h @ ur + dr)
    c = np.tanh(x @ wc + bc + r * (h @ uc + dc))
    return (z * h + (1 - z) * c,)


def lstm(x, states, w):
    """S. Hochreiter and J. Schmidhuber 1997, with the forget gate of F. Gers et al. 2000; Keras's order i, f, c, o."""
    h, c = states
    wi, wf, wc, wo = np.split(w["kernel"], 4, axis=1)
    ui, uf, uc, uo = np.split(w["recurrent_kernel"], 4, axis=1)
    bi, bf, bc, bo = np.split(w["bias"], 4)
    i = sigmoid(x @ wi + h @ ui + bi)
    f = sigmoid(x @ wf + h @ uf + bf)
    o = sigmoid(x @ wo + h @ uo + bo)
    c = f * c + i * np.tanh(x @ wc + h @ uc + bc)
    return o * np.tanh(c), c


def run(cell, sequence, states, weights):
    """The states after each timestep of one sequence (timesteps, features), each (timesteps, units)."""
    kept = []
    for x in sequence:
        states = cell(x, states, weights)
        kept.append(states)
    return [np.stack(state) for state in zip(*kept, strict=True)]
