"""A worker without a server of its own, as Celery's are: its health plane is all that listens."""

import argparse
import logging
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator

from petsage_grpc import HealthPlane

log = logging.getLogger("example")

Jobs = queue.SimpleQueue[str]


def receive(jobs: Jobs) -> None:
    """Put each line of the input into the queue, in the place of a broker."""
    for line in sys.stdin:
        jobs.put(line)


def take(jobs: Jobs, stopping: threading.Event, pause: float) -> Iterator[str]:
    """Give job after job until told to stop, and an empty one when there was none for a while."""
    while not stopping.is_set():
        try:
            yield jobs.get(timeout=pause)
        except queue.Empty:
            yield ""  # idle is not stuck: the loop goes round, and beats


def work(job: str) -> None:
    """Sleep for so long as the job says: "Tom 0.5"."""
    name, seconds = job.split()
    log.info("%s sleeps", name)
    time.sleep(float(seconds))
    log.info("%s has slept", name)


def main() -> None:
    """Work until SIGTERM, finish the job at hand, and stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--health", default="127.0.0.1:50051", help="where the plane listens")
    parser.add_argument("--isolation", default="thread", choices=["thread", "process"])
    parser.add_argument("--max-silence", type=float, default=10.0, help="of a job, in seconds")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)

    jobs, stopping = Jobs(), threading.Event()
    threading.Thread(target=receive, args=[jobs], daemon=True).start()
    plane = HealthPlane.from_settings(listen=options.health, isolation=options.isolation)
    beat = plane.heartbeat("worker", max_silence=options.max_silence)
    with plane:

        def stop(*_: object) -> None:
            plane.drain()  # nobody sends it calls: it takes no more jobs at once
            stopping.set()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        log.info("health: listening on %s", plane.address)
        for job in beat.over(take(jobs, stopping, beat.pause)):
            if job:
                work(job)
    log.info("stopped with %s jobs left to others", jobs.qsize())


if __name__ == "__main__":
    main()
