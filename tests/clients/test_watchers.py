"""Crowds of watchers of grpc-go's own client, and what becomes of them when the service stops."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.clients.conftest import CHECK, Client, Follower, find
from tests.processes import PATIENCE, Served, served, settings_file

Follow = Callable[..., Follower]


def test_two_thousand_watchers_at_once_all_get_their_first_status(
    follow: Follow, service: Served
) -> None:
    crowd = follow(service.address, "-watchers", "2000", "-connections", "10", "-until-first")
    assert crowd.event("first") == {
        "received": 2000, "failed": 0, "statuses": {"SERVING": 2000}, "codes": {},
    }  # fmt: skip
    assert crowd.process.wait(PATIENCE) == 0


def test_each_watcher_sees_each_change_once(follow: Follow, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    config = settings_file(
        tmp_path, "[checks.disk]", 'kind = "disk"', f'directory = "{directory}"', "min_free = 0",
        "interval = 0.1", "edge_interval = 0.05",
    )  # fmt: skip
    with served("--config", str(config), PETSAGE_DRAIN_DELAY="0") as process:
        process.wait_for("check disk is passing")
        crowd = follow(process.address, "-watchers", "200", "-connections", "5")
        assert crowd.event("first")["statuses"] == {"SERVING": 200}
        directory.rename(tmp_path / "elsewhere")
        process.wait_for("check disk is failing")
        (tmp_path / "elsewhere").rename(directory)
        process.wait_for("check disk is passing, was failing")
        process.signal(signal.SIGTERM)
        end = crowd.event("end")
    assert end["codes"] == {"Unavailable": 200}
    assert end["sequences"] == {"SERVING,NOT_SERVING,SERVING,NOT_SERVING": 200}


def test_a_stop_under_load_fails_no_call_in_the_drain_and_tells_every_watcher(
    follow: Follow,
) -> None:
    with served(PETSAGE_DRAIN_DELAY="3") as process:
        process.wait_for("check disk is passing")
        process.wait_for("check log is passing")
        crowd = follow(process.address, "-watchers", "100", "-connections", "10")
        assert crowd.event("first")["statuses"] == {"SERVING": 100}
        load = subprocess.Popen(
            [find("ghz"), "--insecure", "--call", CHECK, "--concurrency", "4", "--duration", "2s",
             "--duration-stop", "wait", "--format", "json", process.address],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        process.signal(signal.SIGTERM)
        process.wait_for("draining")
        report = json.loads(load.communicate(timeout=PATIENCE)[0])
        end = crowd.event("end")
        assert process.end() == 0
    assert report["statusCodeDistribution"] == {"OK": report["count"]}
    assert report["count"] > 100
    assert end["codes"] == {"Unavailable": 100}
    assert end["sequences"] == {"SERVING,NOT_SERVING": 100}


def test_a_balancing_client_leaves_a_server_that_is_not_serving(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    config = settings_file(
        tmp_path, "[checks.disk]", 'kind = "disk"', f'directory = "{directory}"', "min_free = 0",
        "interval = 0.1", "edge_interval = 0.05",
    )  # fmt: skip
    with served("--config", str(config)) as process:
        process.wait_for("check disk is passing")
        command = [find("health-client"), "balance", "-addr", process.address, "-seconds", "15"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout is not None
            states = (json.loads(line)["state"] for line in client.stdout)
            assert "READY" in states
            directory.rename(tmp_path / "elsewhere")
            assert next(states) == "TRANSIENT_FAILURE"
            (tmp_path / "elsewhere").rename(directory)
            assert "READY" in states
            client.terminate()


def test_the_client_of_another_language_lists_every_name(
    health_client: Client, service: Served
) -> None:
    answer = json.loads(health_client("list", "-addr", service.address).stdout)
    assert (answer["code"], len(answer["statuses"])) == ("OK", 5)
