"""Calls at a steady rate, and new connections all the time, while the certificates are renewed."""

import json
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from tests.certificates import Authority, Pair, Secret, der, shown
from tests.hostile.figures import Figure
from tests.hostile.subjects import Subject, service, wait_until
from tests.processes import PATIENCE

__all__ = ["renewal"]

_GHZ: Final = Path(__file__).parents[1] / "clients" / "bin" / "ghz"
_RATE: Final = 1000
"""Calls a second."""
_ENOUGH: Final = 0.95
"""The part of that rate that has to have been reached."""
_TRIES: Final = 3
"""How often it is tried to reach it: a machine may be slow for a while. All that fails counts."""
_CONNECTIONS: Final = 20
"""New ones that another client makes each time."""
_CONNECTS_EVERY: Final = 0.5
"""Seconds until it does so again."""
_RENEWS_EVERY: Final = 1.0
_SLOWEST: Final = 1000.0
"""Milliseconds that a call may take: a kubelet waits no longer."""


def renewal(folder: Path, seconds: float) -> Iterator[Figure]:
    """Call for so many seconds, and count what fails."""
    authority = Authority()
    (folder / "renewal").mkdir()
    authority.write(folder / "renewal", "ca")
    first = authority.pair()
    secret = Secret(folder / "renewal" / "secret", first)
    lines = [f'{key} = "{path}"' for key, path in secret.settings().items()]
    over, said, others = threading.Event(), Counter[str](), Counter[str]()
    slowest, rate = 0.0, 0.0

    def renew() -> Pair:
        last = first
        while not over.wait(_RENEWS_EVERY):
            secret.renew(last := authority.pair())
        return last

    def connect(subject: Subject) -> None:
        while not over.wait(_CONNECTS_EVERY):
            told = _call(
                subject, f"{folder}/renewal", f"--connections={_CONNECTIONS}",
                f"--concurrency={_CONNECTIONS}", f"--total={_CONNECTIONS}",
            )  # fmt: skip
            others.update(told["statusCodeDistribution"])

    with service(folder, *lines) as ours, ThreadPoolExecutor() as pool:
        renewing, connecting = pool.submit(renew), pool.submit(connect, ours)
        try:
            for _ in range(_TRIES):
                told = _call(
                    ours, f"{folder}/renewal", f"--rps={_RATE}", f"--duration={seconds:g}s",
                    "--connections=4", "--concurrency=50", "--duration-stop=wait",
                )  # fmt: skip
                said.update(told["statusCodeDistribution"])
                slowest, rate = max(slowest, told["slowest"] / 1e6), told["count"] / seconds
                if rate >= _ENOUGH * _RATE:
                    break
        finally:
            over.set()
        connecting.result()
        last = der(renewing.result())
        shows = wait_until(lambda: shown(ours.address) == last, PATIENCE)
        complaints = ours.complaints()
    yield Figure(
        f"calls over TLS, {_RATE} a second wanted", f"{rate:.0f} a second",
        target=f">= {_ENOUGH * _RATE:.0f}", met=rate >= _ENOUGH * _RATE,
    )  # fmt: skip
    yield Figure("  that failed", f"{_failed(said)}", target="0", met=not _failed(said))
    yield Figure(
        "  the slowest", f"{slowest:.0f} ms", target=f"<= {_SLOWEST:.0f}", met=slowest <= _SLOWEST
    )
    yield Figure(
        "  of others, each on a new connection, failed", f"{_failed(others)} of {others.total()}",
        target="0", met=others.total() > 0 and not _failed(others),
    )  # fmt: skip
    yield Figure(
        "  the last certificate is shown", "yes" if shows else "no", met=shows, target="yes"
    )
    yield Figure("  lines above INFO", f"{complaints[:1] or '0'}", target="0", met=not complaints)


def _call(subject: Subject, folder: str, *how: str) -> dict[str, Any]:
    """Run ghz; return what it tells."""
    ran = subprocess.run(
        [str(_GHZ), f"--cacert={folder}/ca.pem", "--call=grpc.health.v1.Health.Check",
         "--format=json", "--timeout=5s", *how, subject.address],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120, check=True,
    )  # fmt: skip
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def _failed(said: "Counter[str]") -> int:
    return said.total() - said["OK"]
