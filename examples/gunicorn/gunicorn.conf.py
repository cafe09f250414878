"""gunicorn with one health plane for its group: it runs beside the master, and the workers beat."""

# ruff: noqa: ANN401 -- gunicorn's own types are not to be had
import itertools
import logging
import signal
import threading
from typing import Any

from petsage_grpc import HealthPlane

logging.basicConfig(level=logging.INFO)

bind = "127.0.0.1:8000"
workers = 2
timeout = 30


def when_ready(server: Any) -> None:
    """Start the plane in the master, before any worker is forked."""
    # "process": no grpc in the master, and a beat is a write to memory that all workers share.
    server.plane = plane = HealthPlane.from_settings(isolation="process")
    # Longer than an idle worker is silent, and shorter than gunicorn waits before it kills one.
    silence = 0.75 * server.timeout
    server.any_beats = plane.heartbeat("workers", max_silence=silence)
    server.each_beats = [
        plane.heartbeat(f"worker-{slot}", max_silence=silence, gates=[])  # reported only
        for slot in range(server.num_workers)
    ]
    plane.start()
    server.log.info("health: listening on %s", plane.address)
    stop = server.handle_term

    def drain_and_stop() -> None:
        plane.drain()  # those who send requests turn to others, and until then they are answered
        server.handle_term = stop  # a second signal cuts it short
        later = threading.Timer(plane.settings.drain_delay, signal.raise_signal, [signal.SIGTERM])
        later.daemon = True
        later.start()

    server.handle_term = drain_and_stop


def pre_fork(server: Any, worker: Any) -> None:
    """Give the worker a slot that no other has."""
    taken = {other.slot for other in server.WORKERS.values()}
    worker.slot = next(slot for slot in itertools.count() if slot not in taken)


def post_fork(server: Any, worker: Any) -> None:
    """Beat whenever gunicorn's own heartbeat does."""
    notify, any_beats = worker.notify, server.any_beats
    each_beats = server.each_beats[worker.slot % len(server.each_beats)]  # a reload has more

    def notify_and_beat() -> None:
        notify()
        any_beats()
        each_beats()

    worker.notify = notify_and_beat


def on_exit(server: Any) -> None:
    """Stop the plane."""
    server.plane.stop()
