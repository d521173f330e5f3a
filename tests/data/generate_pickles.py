"""Bare pickles of NumPy arrays and tensors, as model zoos publish them: python generate_pickles.py [--out FOLDER]

Needs numpy 2 and PyTorch 2.13 (the environment of `make test-torch`). Protocols 0 to 2 are written as Python 2 and NumPy 1 wrote
them too: the module is numpy.core.
"""
import argparse
import pathlib
import pickle

import numpy as np
import torch

parser = argparse.ArgumentParser()
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "pickles")
out = parser.parse_args().out
out.mkdir(parents=True, exist_ok=True)

weights = {
    "conv.weight": np.arange(6, dtype="<f4").reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype="<f4").reshape(2, 3)),
    "big": np.arange(3, dtype=">i2"),
    "bytes": np.array([0, 128, 255], dtype="u1"),
    "empty": np.zeros((0, 3), dtype="f8"),
    "scalar": np.array(7, dtype="i8"),
}
zoo = {"model": weights, "labels": np.array(["a", "b"], dtype=object), "author": "x", "lr": 0.5, "big": 2**70, "no": False}
for protocol in range(6):
    content = pickle.dumps(zoo, protocol)
    if protocol < 3:
        content = content.replace(b"numpy._core", b"numpy.core")
    (out / f"zoo_{protocol}.pkl").write_bytes(content)

tensors = {"w": torch.arange(4, dtype=torch.float32), "half": torch.ones(2, dtype=torch.bfloat16), "p": torch.nn.Parameter(torch.ones(2, 2))}
for protocol in (2, 4):
    (out / f"tensors_{protocol}.pkl").write_bytes(pickle.dumps(tensors, protocol))
