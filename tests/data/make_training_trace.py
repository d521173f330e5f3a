"""Writes torch-2.13/toy_training_ten_epochs.json: ToyModel trained for ten epochs of ten batches, SGD with lr 0.001, from
the initial weights and batches of torch-2.13/toy_training_trace.zip.pt. Needs PyTorch 2.13:

    OMP_NUM_THREADS=1 python tests/data/make_training_trace.py
"""
import json
import pathlib

import torch

HERE = pathlib.Path(__file__).parent / "torch-2.13"


class ToyModel(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net1 = torch.nn.Linear(10, 10)
        self.relu = torch.nn.ReLU()
        self.net2 = torch.nn.Linear(10, 1)

    def forward(self, x):
        return self.net2(self.relu(self.net1(x)))


torch.set_num_threads(1)
start = torch.load(HERE / "toy_training_trace.zip.pt")
model = ToyModel()
model.load_state_dict(start["initial"])
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
losses = []
for step in range(100):
    batch = step % 10
    optimizer.zero_grad()
    loss = torch.nn.MSELoss()(model(start["inputs"][batch]), start["labels"][batch])
    losses.append(loss.item())
    loss.backward()
    optimizer.step()

trace = {"torch": torch.__version__, "steps": len(losses), "loss_before_each_step": losses,
         "final": {name: value.flatten().tolist() for name, value in model.state_dict().items()}}
(HERE / "toy_training_ten_epochs.json").write_text(json.dumps(trace, indent=1) + "\n")
