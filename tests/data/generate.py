"""Writes the sample files in torch-2.13/, and compares them with those that are here:

    OMP_NUM_THREADS=1 python tests/data/generate.py [--out FOLDER] [NAME...]

Needs PyTorch 2.13 (CPU build), numpy 2 and safetensors 0.8; takes less than a minute. Values are seeded. A file is the same
as the committed one but for times, serialization ids and the last bits of trained weights; anything else is reported.

Each function with @sample in the modules below writes one file, or a few; NAME runs these functions only (refused_archives
needs toy_state_dict and zip_variants). README.md explains the manifest and the words `origin` and `expect`.
"""

import warnings

import samples_archives  # noqa: F401
import samples_models  # noqa: F401
import samples_refused_archives  # noqa: F401
import samples_refused_pickles  # noqa: F401
import samples_safetensors  # noqa: F401
import samples_values  # noqa: F401
import torch
from sample_files import main

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    main("torch-2.13")
