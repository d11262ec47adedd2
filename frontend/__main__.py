"""`flambeau` and `python -m flambeau`."""

from __future__ import annotations

import sys

from flambeau.cli.main import main as main

if __name__ == "__main__":
    sys.exit(main())
