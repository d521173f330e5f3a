"""A model from one place to another, in Python: with PyTorch, or with NumPy alone."""

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

transload.save(state, path)  # torch.load opens it
print(transload.open(path).plan("cpu"))  # what a load would do, before it does it
state = transload.load(path, map_location="cpu")  # what torch.load(weights_only=True) returns
print({key: tuple(tensor.shape) for key, tensor in state.items()})
transload.load_into(state, path)  # live tensors, a module or an optimizer: filled in place
print(transload.memory_report())
