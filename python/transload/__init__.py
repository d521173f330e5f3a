"""Save a model on any device, load it on any other.

    state = transload.load("model.pt", map_location="cpu")  # as torch.load(weights_only=True)
    transload.load_into(model, "model.pt")  # straight into live parameters, wherever they are
    transload.save(model.state_dict(), "model.safetensors")

Reads and writes PyTorch's zip files and safetensors, and reads older and other formats. Nothing in a file is run: of classes, only
those are made that torch's weights_only and add_safe_globals() allow. Tensors are torch's where
PyTorch is installed, else NumPy arrays. Every function may be called from any thread.
"""

from ._core import (
    DeviceError,
    Error,
    FormatError,
    IoError,
    MismatchError,
    PlacementError,
    UnsafePickleError,
    UnsupportedError,
    __version__,
    devices,
    empty_cache,
    use_cuda_driver,
)
from ._fill import FillResult
from ._index import Index, LazyTensor, Plan, open
from ._load import load, load_into
from ._memory import MemoryReport, memory_report
from ._object import Name, Object
from ._patch import patch_torch
from ._save import save

__all__ = [
    "DeviceError",
    "Error",
    "FillResult",
    "FormatError",
    "Index",
    "IoError",
    "LazyTensor",
    "MemoryReport",
    "MismatchError",
    "Name",
    "Object",
    "PlacementError",
    "Plan",
    "UnsafePickleError",
    "UnsupportedError",
    "__version__",
    "devices",
    "empty_cache",
    "load",
    "load_into",
    "memory_report",
    "open",
    "patch_torch",
    "save",
    "use_cuda_driver",
]
