"""All attacks at once against the command: it answers after them, and says nothing odd."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from petsage_grpc.core.policy import Policy
from petsage_grpc.core.units import Duration
from tests.hostile.attacks import ATTACKS, attack
from tests.hostile.oracle import Answer, Oracle
from tests.hostile.subjects import Subject, service
from tests.processes import run


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    with service(tmp_path, "watch_send_timeout = 1") as subject:
        yield subject


def test_after_all_attacks_at_once_it_answers(subject: Subject) -> None:
    with ThreadPoolExecutor(len(ATTACKS)) as pool:
        counts = list(pool.map(lambda name: attack(name, subject.address, 0.3), ATTACKS))
    assert len(counts) == len(ATTACKS)
    ran = run("wait", "--timeout", "30s", subject.address)
    assert not ran.returncode, ran.stdout + ran.stderr
    assert subject.alive
    assert not subject.complaints()


class TestTheOracle:
    """What judges the service is judged too."""

    oracle: Oracle

    @pytest.fixture(autouse=True)
    def _set_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("tests.hostile.oracle.time.monotonic", lambda: self.now)
        policy = Policy(
            interval=Duration(1), timeout=Duration(1), edge_interval=Duration(1), fall=1, rise=1
        )
        self.oracle = Oracle(policy)
        self.oracle.serves()
        self.oracle.is_so("cache", up=True)
        self.now = 10.0
        self.oracle.changes("cache")
        self.oracle.is_so("cache", up=False)
        self.now = 20.0
        self.oracle.leaves()

    def wrong(self, begun: float, ended: float, said: str, *, throughout: bool = False) -> bool:
        self.oracle.answers = [Answer("cache", begun, ended, said, throughout)]
        return bool([*self.oracle.wrong()])

    def test_a_stale_green_is_wrong(self) -> None:
        assert self.wrong(15.0, 15.1, "SERVING")

    def test_within_the_bound_either_is_right(self) -> None:
        assert not self.wrong(11.0, 11.1, "SERVING")
        assert not self.wrong(11.0, 11.1, "NOT_SERVING")

    def test_a_false_alarm_is_wrong(self) -> None:
        assert self.wrong(8.0, 8.1, "NOT_SERVING")

    def test_a_watcher_that_is_not_told_is_wrong(self) -> None:
        assert self.wrong(1.0, 19.0, "SERVING", throughout=True)
        assert not self.wrong(1.0, 11.0, "SERVING", throughout=True)

    @pytest.mark.parametrize(("begun", "ended", "missed"), [(5.0, 5.1, 1), (19.9, 20.1, 0)])
    def test_no_answer_is_missed_but_while_it_restarts(
        self, begun: float, ended: float, missed: int
    ) -> None:
        assert not self.wrong(begun, ended, "UNAVAILABLE")
        assert len([*self.oracle.missed()]) == missed
