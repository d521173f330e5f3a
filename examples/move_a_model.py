"""Saves a model and loads it in Python, with PyTorch or with NumPy alone."""

import importlib.util
import tempfile
from pathlib import Path

import transload

path = Path(tempfile.mkdtemp()) / "model.pt"

if importlib.util.find_spec("torch"):
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(10, 10), torch.nn.ReLU(), torch.nn.Linear(10, 1))
    state = model.state_dict()
else:
    import numpy

    state = {"0.weight": numpy.ones((10, 10), numpy.float32), "0.bias": numpy.zeros(10, numpy.float32)}

transload.save(state, path)  # torch.load can open the file
print(transload.open(path).plan("cpu"))  # shows what a load would do, and loads nothing
state = transload.load(path, map_location="cpu")  # the same values as torch.load(weights_only=True)
print({key: tuple(tensor.shape) for key, tensor in state.items()})
transload.load_into(state, path)  # fills live tensors, a module or an optimizer in place
print(transload.memory_report())
