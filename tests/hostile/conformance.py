"""Runs h2spec against a server: what it sends breaks the rules of HTTP/2 in 145 ways."""

import re
import subprocess
from pathlib import Path
from typing import Final

from tests.hostile.raw import CHECK
from tests.hostile.subjects import Subject

__all__ = ["H2SPEC", "conform"]

H2SPEC: Final = Path(__file__).parents[1] / "clients" / "bin" / "h2spec"
"""Built by `make clients`."""
_SILENCE: Final = 1
"""Seconds after which a server that says nothing has failed a test."""
_LIMIT: Final = 300.0


def conform(subject: Subject) -> str:
    """Run it; say how many of its tests pass."""
    host, _, port = subject.address.rpartition(":")
    ran = subprocess.run(
        [str(H2SPEC), "-h", host, "-p", port, "-P", CHECK, "-o", f"{_SILENCE}"],
        capture_output=True, text=True, timeout=_LIMIT, check=False,
    )  # fmt: skip
    found = re.search(r"(\d+) tests, (\d+) passed", ran.stdout)
    return f"{found[2]} of {found[1]} pass" if found else "no result"
