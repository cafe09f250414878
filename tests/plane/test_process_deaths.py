"""The application and its plane's process: each notices when the other dies or is stopped."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.plane.asking import Asking
from tests.plane.planes import (
    APPLICATION,
    NOT_SERVING,
    SERVING,
    Application,
    application,
    can_bind,
    eventually,
)
from tests.processes import PATIENCE


@pytest.fixture
def app() -> Iterator[Application]:
    with application(APPLICATION) as app:
        yield app


@pytest.fixture
def client(app: Application) -> Iterator[Asking]:
    with Asking(app.says("address")) as client:
        client.becomes(SERVING)
        yield client


def assert_gone(app: Application, client: Asking) -> None:
    assert eventually(lambda: not app.planes), "an orphan"
    assert eventually(lambda: can_bind(client.address)), "the port is taken"


def test_a_killed_application_takes_its_plane_with_it(app: Application, client: Asking) -> None:
    seen = client.watch("liveness")
    assert next(seen) == SERVING
    app.signal(signal.SIGKILL)
    assert list(seen) == [NOT_SERVING]
    assert_gone(app, client)


def test_a_child_of_the_application_that_lives_on_changes_nothing(
    app: Application, client: Asking
) -> None:
    seen = client.watch()
    assert next(seen) == SERVING
    app.tell("fork")
    child = int(app.says("child"))
    try:
        app.signal(signal.SIGKILL)
        assert list(seen) == [NOT_SERVING]
        assert_gone(app, client)
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("way", ["exit", "raise", "leave"])
def test_however_the_application_ends_nothing_is_left(
    app: Application, client: Asking, way: str
) -> None:
    app.tell(way)
    app.says("(end)")
    assert app.process.wait(PATIENCE) == (1 if way == "raise" else 0)
    assert_gone(app, client)
    told = [line for line in app.lines if "Error" in line or "Traceback" in line]
    assert (way == "raise") == bool(told), told


def test_a_stopped_application_is_not_alive_and_goes_on(app: Application, client: Asking) -> None:
    seen = client.watch("liveness")
    assert next(seen) == SERVING
    app.signal(signal.SIGSTOP)
    assert next(seen) == NOT_SERVING
    assert client.check() == NOT_SERVING
    app.signal(signal.SIGCONT)
    assert next(seen) == SERVING
    client.becomes(SERVING)


def test_an_interpreter_that_is_held_is_not_alive_and_goes_on(
    app: Application, client: Asking
) -> None:
    seen = client.watch("liveness")
    assert next(seen) == SERVING
    app.tell("hold")
    assert next(seen) == NOT_SERVING
    assert "held" not in app.lines, "it was told while the interpreter was held"
    assert next(seen) == SERVING


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_are_the_applications(
    app: Application, client: Asking, number: signal.Signals
) -> None:
    (child,) = app.planes
    os.kill(child, number)
    assert client.check() == SERVING
    assert app.planes == [child]
