"""Third-party distributions of this suite, installed by pip into a folder of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

THIRD_PARTY = Path(__file__).parents[1] / "third_party"


def install(name: str, target: Path) -> Path:
    """Install one of them; returns the folder, which goes on the path."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([*command, str(THIRD_PARTY / name)], check=True, capture_output=True)
    return target
