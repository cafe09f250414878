"""A process may have as many files open as its connections need, as far as the system lets it."""

import subprocess
import sys

import pytest

RAISE = """
import logging, resource
from petsage_grpc.rpc.limits import raise_file_limit
logging.basicConfig(format="%(message)s")
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
raise_file_limit({wanted})
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "then", "warned"),
    [
        (256, 2000, 1000, 1512, False),
        (256, 1200, 1000, 1200, True),
        (1600, 2000, 1000, 1600, False),
    ],
)
def test_as_many_files_may_be_open_as_connections_need(
    soft: int, hard: int, wanted: int, then: int, warned: bool
) -> None:
    code = RAISE.format(soft=soft, hard=hard, wanted=wanted)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(ran.stdout) == then
    assert bool(ran.stderr) == warned
    assert not warned or "max_connections = 1000 do not fit into 1200 open files" in ran.stderr
