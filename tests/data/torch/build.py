"""Saves the files beside it with PyTorch, and what PyTorch computes with them; see README.md."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

HERE = Path(__file__).parent
FLOATS = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
IDS = torch.randint(0, 7, (2, 5), generator=torch.Generator().manual_seed(0))


class Row(nn.Module):
    """Modules one after the other; strings take the last timestep, or the final state of the module before."""

    def __init__(self, *steps):
        super().__init__()
        self.steps = [step if isinstance(step, str) else step[0] for step in steps]
        for step in steps:
            if not isinstance(step, str):
                self.add_module(*step)

    def forward(self, x):
        """The output of the last."""
        state = None
        for step in self.steps:
            if step == "last timestep":
                x = x[:, -1]
            elif step == "final state":
                x = state
            else:
                module = getattr(self, step)
                x = module(x)
                if isinstance(x, tuple):
                    x, hidden = x
                    hidden = hidden[0] if isinstance(hidden, tuple) else hidden
                    state = torch.cat(list(hidden[-2 if module.bidirectional else -1 :]), dim=-1)
        return x


MODELS = {
    "lstm": Row(("lstm", nn.LSTM(3, 4, num_layers=2, batch_first=True)), "last timestep", ("head", nn.Linear(4, 2))),
    "gru": Row(
        ("gru", nn.GRU(3, 4, batch_first=True, bidirectional=True)),
        ("hidden", nn.Linear(8, 3)),
        ("act", nn.ReLU()),
        ("out", nn.Linear(3, 2, bias=False)),
    ),
    "rnn": Row(("rnn", nn.RNN(3, 4, nonlinearity="relu", batch_first=True)), "final state"),
    "states": Row(
        ("words", nn.Embedding(7, 3)),
        ("read", nn.LSTM(3, 2, num_layers=2, batch_first=True, bidirectional=True, bias=False)),
        "final state",
        ("head", nn.Linear(4, 2)),
        ("soft", nn.Softmax(dim=-1)),
    ),
    "last": Row(("gru", nn.GRU(3, 2, batch_first=True, bidirectional=True)), "last timestep"),
    "double": Row(("lstm", nn.LSTM(3, 2, batch_first=True)), ("head", nn.Linear(2, 1))).double(),
}


def main():
    """Writes each model's weights, and the numbers of all."""
    numbers = {}
    for name, model in MODELS.items():
        torch.manual_seed(1)
        for weight in model.parameters():
            nn.init.normal_(weight, std=0.6)
        x = IDS if name == "states" else FLOATS.to(next(model.parameters()).dtype)
        with torch.no_grad():
            numbers |= {f"{name}/x": x.numpy(), f"{name}/y": model.eval()(x).numpy()}
        save_file(model.state_dict(), HERE / f"{name}.safetensors")
    np.savez_compressed(HERE / "numbers.npz", **numbers)


if __name__ == "__main__":
    main()
