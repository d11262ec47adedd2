"""The device `cuda`: NVIDIA GPUs through PyCUDA. `device(index)` is the door.

Importing this package loads neither PyCUDA nor the driver.
"""
from __future__ import annotations

from flambeau.runtime.cuda.drivers import check as check
