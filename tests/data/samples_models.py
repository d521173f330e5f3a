"""Models, optimizers, checkpoints, parameters and the devices that they were saved from. Run by generate.py."""

import argparse
import collections
import pathlib
import sys
import types

import torch
from sample_files import live_tensors, path, read, record, records_of, sample, save, torch_zip
from torch import nn


class project:
    """Within it, the classes given are found in modules of a project that no reader has."""

    def __init__(self, *classes):
        self.classes = classes

    def __enter__(self):
        self.before = [c.__module__ for c in self.classes]
        sys.modules["toy_project"], sys.modules["toy_project.models"] = (
            types.ModuleType("toy_project"),
            types.ModuleType("toy_project.models"),
        )
        for c in self.classes:
            c.__module__ = "toy_project.models"
            setattr(sys.modules["toy_project.models"], c.__name__, c)

    def __exit__(self, *_):
        for c, m in zip(self.classes, self.before):
            c.__module__ = m
        del sys.modules["toy_project"], sys.modules["toy_project.models"]


class ToyModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.net1 = nn.Linear(10, 10)
        self.relu = nn.ReLU()
        self.net2 = nn.Linear(10, 1)

    def forward(self, x):
        return self.net2(self.relu(self.net1(x)))


def toy(seed=0):
    torch.manual_seed(seed)
    return ToyModel()


def batches():
    g = torch.Generator().manual_seed(213)
    x = torch.randn(10, 20, 10, generator=g)
    y = x[..., :3].sum(-1, keepdim=True).sin() + 0.1 * torch.randn(10, 20, 1, generator=g)
    return x, y


def train(optimizer_of, steps, after=None):
    net, (x, y) = toy(), batches()
    optimizer, loss_of, losses = optimizer_of(net.parameters()), nn.MSELoss(), []
    for i in range(steps):
        optimizer.zero_grad()
        loss = loss_of(net(x[i % 10]), y[i % 10])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if after:
            after(i)
    return net, optimizer, losses, loss


@sample
def toy_state_dict():
    save(
        "toy_state_dict.zip.pt",
        "state_dict() of ToyModel: net1 = Linear(10, 10), relu, net2 = Linear(10, 1); an OrderedDict with _metadata",
        toy().state_dict(),
    )
    records = records_of("toy_state_dict.zip.pt")
    torch_zip("write_again.zip.pt", records, root="toy_state_dict.zip")
    assert read("write_again.zip.pt") == read("toy_state_dict.zip.pt"), (
        "torch_zip does not write what torch writes"
    )
    record(
        "write_again.zip.pt",
        "written by the generator's archive writer from the records of toy_state_dict.zip.pt; byte for byte the file of torch 2.13",
        origin="synthetic",
        value=toy().state_dict(),
    )


@sample
def checkpoints():
    makers = {
        "sgd_momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
        "adam": lambda p: torch.optim.Adam(p, lr=1e-3, amsgrad=True),
        "adamw": lambda p: torch.optim.AdamW(p, lr=1e-3),
    }
    for name, maker in makers.items():
        net, optimizer, losses, loss = train(maker, 3)
        save(
            "checkpoint_" + name + ".zip.pt",
            "epoch, model_state_dict, optimizer_state_dict, loss as float and as a 0-dim tensor with requires_grad (a clone: the loss itself has a storage of 20 elements, 19 of them leftovers)",
            {
                "epoch": 5,
                "model_state_dict": net.state_dict(),
                "optimizer_state_dict": optimizer.state_dict(),
                "loss": losses[-1],
                "loss_tensor": loss.clone(),
            },
            exact=False,
        )
    net, optimizer, _, _ = train(lambda p: torch.optim.SGD(p, lr=0.01), 1)
    save(
        "checkpoint_sgd_plain.zip.pt",
        "SGD without momentum: state is empty even after a step; 'optimizer' was made of named parameters and has param_names",
        {
            "optimizer": torch.optim.SGD(list(net.named_parameters()), lr=0.01).state_dict(),
            "after_a_step": optimizer.state_dict(),
        },
    )
    lr = torch.optim.lr_scheduler
    net, sgd = toy(), torch.optim.SGD(toy().parameters(), lr=0.1)
    schedulers = {
        "step": lr.StepLR(sgd, 10),
        "multistep": lr.MultiStepLR(sgd, [2, 4]),
        "cosine": lr.CosineAnnealingLR(sgd, 10),
        "lambda": lr.LambdaLR(sgd, lambda e: 1.0),
        "onecycle": lr.OneCycleLR(torch.optim.Adam(net.parameters()), 0.1, total_steps=5),
        "plateau": lr.ReduceLROnPlateau(sgd),
        "sequential": lr.SequentialLR(sgd, [lr.ConstantLR(sgd), lr.ExponentialLR(sgd, 0.9)], [3]),
    }
    for name, s in schedulers.items():
        save(
            "scheduler_%s.zip.pt" % name,
            "state_dict() of %s" % type(s).__name__,
            s.state_dict(),
            check=False,
        )
    state = {
        "epoch": 2,
        "global_step": 20,
        "pytorch-lightning_version": "2.5.1",
        "state_dict": collections.OrderedDict(
            ("model." + k, v) for k, v in toy().state_dict().items()
        ),
        "loops": {
            "fit_loop": {
                "state_dict": {},
                "epoch_loop.batch_progress": {
                    "total": {"ready": 20, "completed": 20},
                    "is_last_batch": True,
                },
            }
        },
        "callbacks": {
            "ModelCheckpoint{'monitor': 'val_loss', 'mode': 'min'}": {
                "best_model_score": torch.tensor(0.5),
                "best_model_path": "checkpoints/epoch=1.ckpt",
                "best_k_models": {"checkpoints/epoch=1.ckpt": torch.tensor(0.5)},
            }
        },
        "optimizer_states": [train(makers["adam"], 2)[1].state_dict()],
        "lr_schedulers": [schedulers["step"].state_dict()],
        "MixedPrecision": torch.amp.GradScaler("cpu").state_dict(),
        "hparams_name": "kwargs",
    }
    save(
        "lightning_layout.zip.pt",
        "the layout of a Lightning checkpoint: state_dict with 'model.' before each key, loops, callbacks keyed by text with braces, optimizer_states, lr_schedulers",
        {**state, "hyper_parameters": {"lr": 0.1, "layers": [10, 1]}},
        exact=False,
    )

    class AttributeDict(dict):
        pass

    AttributeDict.__qualname__ = "AttributeDict"
    with project(AttributeDict):
        save(
            "lightning_hyper_parameters.zip.pt",
            "the same with hyper_parameters of a dict subclass, a pathlib path and a Namespace: one key of many is not plain",
            {
                **state,
                "hyper_parameters": AttributeDict(
                    lr=0.1, data=pathlib.PosixPath("data/train"), args=argparse.Namespace(seed=1)
                ),
            },
            "skip",
            exact=False,
        )


def number(x):
    return format(x, ".17g")


@sample
def training_trace():
    x, y = batches()
    value, trace = {"initial": toy().state_dict(), "inputs": x, "labels": y}, {}
    runs = (
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.001), 50),
        ("sgd_momentum", lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9), 200),
        ("adam", lambda p: torch.optim.Adam(p, lr=1e-3), 200),
    )
    for name, maker, steps in runs:
        net, optimizer, losses, _ = train(maker, steps)
        value[name] = {"final": net.state_dict(), "optimizer": optimizer.state_dict()}
        trace[name] = losses
    save(
        "toy_training_trace.zip.pt",
        "ToyModel trained on ten batches, inputs (10, 20, 10), labels (10, 20, 1), step i on batch i mod 10, MSELoss, float32 on one CPU thread: 'initial' weights, then for "
        "sgd (lr 0.001, 50 steps = 5 epochs), sgd_momentum (lr 0.01, momentum 0.9, 200 steps) and adam (lr 1e-3, 200 steps) the 'final' weights and the optimizer's state. The loss of every step: toy_training_trace.json",
        value,
        exact=False,
    )
    with open(path("toy_training_trace.json"), "w") as f:
        f.write(
            "{\n"
            + ",\n".join(
                ' "%s": {"steps": %d, "loss_before_each_step": [\n  %s]}'
                % (
                    k,
                    len(v),
                    ",\n  ".join(
                        ", ".join(map(number, v[i : i + 10])) for i in range(0, len(v), 10)
                    ),
                )
                for k, v in trace.items()
            )
            + "\n}\n"
        )


class TaggedTensor(torch.Tensor):
    pass


class WrapperTensor(torch.Tensor):
    """A wrapper subclass: its own storage is empty, the data is in an attribute."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, f, kinds, args=(), kwargs=None):
        return f(*[a.inner if isinstance(a, WrapperTensor) else a for a in args], **(kwargs or {}))


@sample
def parameters_and_subclasses():
    net = toy()
    net.net1.bias.requires_grad_(False)
    value = dict(net.state_dict(keep_vars=True))
    value["plain_requires_grad"] = torch.ones(2, requires_grad=True)
    value["detached"] = net.net2.weight.detach()
    value["non_leaf"] = torch.ones(2, requires_grad=True) * 2
    save(
        "parameters.zip.pt",
        "nn.Parameter objects (_rebuild_parameter) with and without requires_grad, one sharing storage with a tensor; a result of an operation with requires_grad",
        value,
    )
    p = nn.Parameter(torch.arange(3.0))
    p.note, p.shard = "kept", (0, 2)
    t = torch.arange(4.0)
    t.note, t.extra = "kept", torch.ones(1)
    save(
        "attributes.zip.pt",
        "Python attributes: Parameter by _rebuild_parameter_with_state, tensor by torch._tensor._rebuild_from_type_v2; 'extra' of the latter is a tensor in its state",
        {
            "parameter": p,
            "tensor": t,
            "buffer": nn.Buffer(torch.ones(2)),
            "buffer_not_persistent": nn.Buffer(torch.zeros(2), persistent=False),
        },
    )
    with project(TaggedTensor):
        save(
            "subclass.zip.pt",
            "a tensor subclass of an unknown module: _rebuild_from_type_v2 of _rebuild_tensor_v2 with that class as the type",
            {"tagged": torch.arange(3.0).as_subclass(TaggedTensor), "after": torch.ones(2)},
            "skip",
        )
    with project(WrapperTensor):
        save(
            "subclass_wrapper.zip.pt",
            "a wrapper subclass: _rebuild_wrapper_subclass (no data) with the data in the state, as 'inner'",
            {"wrapper": WrapperTensor(torch.arange(3.0)), "after": torch.ones(2)},
            "skip",
        )
    save(
        "uninitialized_parameter.zip.pt",
        "a lazy module's state_dict: UninitializedParameter is REDUCE of its class on (requires_grad,)",
        {**nn.LazyLinear(3).state_dict(keep_vars=True), "after": torch.ones(2)},
        "skip",
    )
    save(
        "meta_tensors.zip.pt",
        "tensors on meta have no storage and no record (_rebuild_meta_tensor_no_storage); two views of one are two",
        {
            "meta": torch.empty(2, 3, device="meta"),
            "meta_grad": torch.empty(4, device="meta", dtype=torch.bfloat16, requires_grad=True),
            "meta_strided": torch.empty(2, 3, device="meta").t(),
            "meta_parameter": nn.Parameter(torch.empty(2, device="meta")),
            "meta_huge": torch.empty(2**40, device="meta"),
            "real": torch.ones(2),
        },
    )


@sample
def skipped_data():
    from torch._subclasses.fake_tensor import FakeTensorMode

    name = "skip_data.zip.pt"
    with torch.serialization.skip_data():
        torch.save(toy().state_dict(), path(name))
    record(
        name,
        "saved under skip_data: a complete archive whose storages are holes that read as zeros, CRC-32 0; another program fills them in",
    )
    name = "skip_data_fake.zip.pt"
    with FakeTensorMode():
        fake = {"x": torch.ones(2, 3), "y": torch.ones(4, dtype=torch.bfloat16, device="cuda:1")}
    with torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save(fake, path(name))
    record(
        name,
        "FakeTensors under skip_data(materialize_fake_tensors=True): ordinary tensors, locations from the fake devices cpu and cuda:1, no data",
    )


@sample
def whole_module():
    net = toy()
    net.register_buffer("steps", torch.tensor(7))
    with project(ToyModel):
        save(
            "whole_module.zip.pt",
            "torch.save(model): classes toy_project.models.ToyModel and torch.nn.modules.linear.Linear; the legacy file also holds 'module' persistent ids with source code",
            net,
            "skip",
        )
    save(
        "whole_module_torch_classes.zip.pt",
        "torch.save of nn.Sequential(Linear, BatchNorm1d, Dropout): classes of torch only, still refused by weights_only",
        nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout()),
        "skip",
    )


@sample
def locations():
    """The location tag is whatever the first tagger in the registry answers, so a tagger of priority 0 writes any device into the file;
    nothing else in the file differs from a file saved on that device."""
    tags = {}
    entry = (0, lambda storage: tags.get(storage.data_ptr()), lambda storage, location: None)
    torch.serialization.register_package(*entry)

    def tagged(name, value_tags, what, value, exact=True):
        tags.clear()
        for t, tag in value_tags:
            tags[t.untyped_storage().data_ptr()] = tag
        torch.save(value, path(name))
        tags.clear()
        record(name, what, value=value, origin="edited", exact=exact)

    net = toy().state_dict()
    items = list(net.items())
    tagged(
        "location_cuda0.zip.pt",
        [(t, "cuda:0") for _, t in items],
        "every storage tagged cuda:0",
        net,
    )
    devices = ("cuda:0", "cuda:1", "cpu", "cuda:1")
    tagged(
        "location_mixed.zip.pt",
        [(t, tag) for (_, t), tag in zip(items, devices)],
        "storages tagged cuda:0, cuda:1, cpu, cuda:1",
        net,
    )
    for tag in (
        "cuda:1",
        "cuda",
        "cuda0",
        "cuda:15",
        "cuda:01",
        "cudafoo",
        "mps",
        "mps:0",
        "xpu:0",
        "xpu:1",
        "hpu:0",
        "mtia:0",
        "privateuseone:0",
        "meta",
        "cpu:0",
        "ipu:0",
        "no_such_device",
    ):
        tagged(
            "location_%s.zip.pt" % {"cuda0": "cuda0_without_colon"}.get(tag, tag.replace(":", "_")),
            [(t, tag) for _, t in items],
            "every storage tagged %s" % tag,
            net,
        )
    base = torch.arange(6.0)
    tagged(
        "location_tied_cuda0.zip.pt",
        [(base, "cuda:0")],
        "two tensors over one storage tagged cuda:0",
        {"a": base, "b": base.view(2, 3)[1]},
    )
    _, adam, _, _ = train(lambda p: torch.optim.Adam(p, lr=1e-3), 1)
    state = {"model": net, "optimizer": adam.state_dict()}
    tagged(
        "location_checkpoint_cuda0.zip.pt",
        [(t, "cuda:0") for n, t in live_tensors(state) if not n.endswith("step")],
        "a checkpoint of a model trained on cuda:0: all storages tagged cuda:0 but Adam's 'step', which stays on the CPU",
        state,
        exact=False,
    )
    torch.serialization._package_registry.remove(entry)
