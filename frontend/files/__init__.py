"""Files: NumPy's, safetensors, Torch7's, MATLAB's, and checkpoints of our own.

`fb.save(x, path)` and `fb.load(path)` choose the format by the name's ending. No reader runs code
from a file, and over damaged or hostile bytes every one of them raises `FileError` and nothing
else.
"""

from . import mat as mat
from .checkpoint import load as load
from .checkpoint import load_checkpoint as load_checkpoint
from .checkpoint import save as save
from .checkpoint import save_checkpoint as save_checkpoint
from .npy import load_npy as load_npy
from .npy import load_npz as load_npz
from .npy import save_npy as save_npy
from .npy import save_npz as save_npz
from .safetensors import load_safetensors as load_safetensors
from .safetensors import save_safetensors as save_safetensors
from .source import FileError as FileError
from .t7 import load_t7 as load_t7
from .t7 import save_t7 as save_t7
from .t7_values import TorchObject as TorchObject
