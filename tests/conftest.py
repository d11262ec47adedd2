"""Shared set-up: graph checks are on, and tests share an object cache of their own."""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault("FLAMBEAU_CACHE", os.path.join(tempfile.gettempdir(), "flambeau-tests"))
os.environ.setdefault("FLAMBEAU_CHECK", "1")
