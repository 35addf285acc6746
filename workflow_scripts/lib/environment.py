"""The environment of the pipeline's commands."""

import os
import sys
from pathlib import Path


def use_this_checkout() -> None:
    """Let child processes find this package from any folder, and run the Python that runs now."""
    checkout = str(Path(__file__).parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [checkout, os.environ.get("PYTHONPATH")]))
    os.environ["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    )
