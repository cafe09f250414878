"""What goes wrong for real, with secrets in it: they are in no answer, no trailer and no line."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import quote, quote_plus

import grpc
import pytest

from petsage_grpc.rpc import stubs as pb
from tests import databases, faults
from tests.databases import DATABASE, HOST, USER, PostgresServer
from tests.processes import PATIENCE, Served, served, settings_file

WRONG: Final = "wr0ng?pass%word"
HEADER_TOKEN: Final = "t0ken-0f-a-header"
CALLER_TOKEN: Final = "t0ken-0f-a-caller"
SECRETS: Final = (WRONG, HEADER_TOKEN, CALLER_TOKEN, databases.PASSWORD)
PUBLIC: Final = {"failed", "failing", "timed out after 2s"}
"""All that anybody is told of what is wrong with a check."""
PARTICULARS: Final = (
    HOST, "localhost", "/no/such", ".db", "://", "sqlalchemy", "psycopg", "asyncpg", "httpx",
    "redis", "sqlite", "postgres", "Error", "password", "connection",
)  # fmt: skip
"""What only an authorised caller is told: hosts, paths, drivers, and their words."""


class Echo(BaseHTTPRequestHandler):
    """Refuses, and says in its answer what it was sent."""

    def do_GET(self) -> None:
        sent = self.headers["Authorization"]
        self.send_response(403, f"not with {sent}")
        self.end_headers()
        self.wfile.write(sent.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def http() -> Iterator[int]:
    with ThreadingHTTPServer((HOST, 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def downstream() -> Iterator[int]:
    """A gRPC server that refuses, and says in details and trailers what it was sent."""

    def refuse(_: object, context: grpc.ServicerContext) -> None:
        sent = str(dict(context.invocation_metadata())["authorization"])
        context.set_trailing_metadata((("sent", sent),))
        context.abort(grpc.StatusCode.PERMISSION_DENIED, f"not with {sent}")

    class Refusing(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            if handler_call_details.method.endswith("/Watch"):
                return grpc.unary_stream_rpc_method_handler(refuse)
            return grpc.unary_unary_rpc_method_handler(refuse)

    with futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=[Refusing()])
        port = server.add_insecure_port(f"{HOST}:0")
        server.start()
        yield port
        server.stop(None).wait()


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)  # PostgreSQL runs as another user
        server = PostgresServer(Path(name) / "postgres", faults.free_port())
        server.folder.mkdir()
        try:
            with databases.running(server, server.create):
                server.execute(f"CREATE DATABASE {DATABASE}")
                yield server
        except databases.MissingServerError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="module", params=["authorized", "always"])
def service(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresServer,
    http: int,
    downstream: int,
) -> Iterator[Served]:
    """A service at DEBUG, of which every check fails for a reason with a secret or a place."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "token").write_text(CALLER_TOKEN)
    (folder / "token").chmod(0o600)
    login = f"{USER}:{quote(WRONG, safe='')}@{HOST}:{postgres.port}/{DATABASE}"
    header = f'headers = {{ authorization = "Bearer {HEADER_TOKEN}" }}'
    checks = {
        "a": ('kind = "database"', f'url = "postgresql+asyncpg://{login}"'),
        "b": ('kind = "database"', f'url = "postgresql+psycopg://{login}"'),
        "c": ('kind = "database"', 'url = "${WHERE}"'),
        "d": ('kind = "database"', 'url = "sqlite:////no/such/pets.db"'),
        "e": ('kind = "http"', f'url = "http://{HOST}:{http}/{HEADER_TOKEN}"', header),
        "f": ('kind = "grpc"', f'address = "{HOST}:{downstream}"', header),
        "g": ('kind = "redis"', f'url = "redis://:{quote(WRONG, safe="")}@{HOST}:1/0"'),
        "h": ('kind = "tcp"', f'address = "{HOST}:1"'),
        "i": ('kind = "disk"', 'directory = "/no/such/directory"'),
        "j": ('kind = "python"', 'function = "os:wait"'),
    }
    config = settings_file(
        folder, 'log_level = "DEBUG"', f'details = "{request.param}"',
        f'token_files = ["{folder / "token"}"]',
        *(line for name, lines in checks.items() for line in (f"[checks.{name}]", *lines)),
    )  # fmt: skip
    where = f"postgresql+psycopg://{login}"
    with served("--config", str(config), WHERE=where, GRPC_VERBOSITY="DEBUG") as process:
        for name in checks:
            process.wait_for(f"check {name} is failing")
        yield process


Asked = tuple[pb.SmokeTestResponse | None, str]
"""An answer, and all that came with it as a text."""


def ask(service: Served, token: str = "", **request: Any) -> Asked:
    headers = (("authorization", f"Bearer {token}"),) if token else ()
    with grpc.insecure_channel(service.address) as channel:
        smoke = pb.SmokeTestServiceStub(channel).SmokeTest
        call = smoke.future(pb.SmokeTestRequest(**request), metadata=headers, timeout=PATIENCE)
        answer = None if call.exception() else call.result()
        with_it = call.details(), call.initial_metadata(), call.trailing_metadata()
    return answer, f"{answer} {with_it}"


def assert_no_secret(text: str) -> None:
    for secret in SECRETS:
        for form in (secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]):
            assert form not in text


REQUESTS: Final[tuple[dict[str, Any], ...]] = (
    {}, {"checks": ["a", "f"]}, {"max_age": {"seconds": 0}}, {"checks": ["z"]}, {"feature": "z"},
)  # fmt: skip


@pytest.mark.parametrize("request_", REQUESTS, ids=map(str, REQUESTS))
@pytest.mark.parametrize("token", ["", CALLER_TOKEN, WRONG * 2], ids=["none", "right", "wrong"])
def test_a_secret_is_in_no_answer_and_no_trailer(
    service: Served, token: str, request_: dict[str, Any]
) -> None:
    assert_no_secret(ask(service, token, **request_)[1])


def test_who_is_not_authorised_learns_no_host_no_driver_and_no_path(service: Served) -> None:
    for request in REQUESTS:
        answer, text = ask(service, **request)
        full, told = ask(service, CALLER_TOKEN, **request)
        if answer is None or full is None:
            assert text == told
            continue
        assert [check.detail != "" for check in full.checks] == [True] * len(full.checks)
        if answer.checks[0].detail:  # details = "always"
            continue
        assert {check.message for check in answer.checks} <= PUBLIC
        assert not [word for word in PARTICULARS if word in text]
        assert [word for word in PARTICULARS if word in told]
        assert [check.name for check in full.checks] == [check.name for check in answer.checks]


def test_a_secret_is_in_no_line_of_the_log_at_any_level(service: Served) -> None:
    for token in (CALLER_TOKEN, WRONG * 2):
        ask(service, token, max_age={"seconds": 0})
    with contextlib.suppress(ProcessLookupError):
        service.process.terminate()
    service.end()
    text = "\n".join(service.lines)
    assert any(" DEBUG " in line for line in service.lines)
    assert text.count("is failing") >= 10
    assert_no_secret(text)
    assert "Traceback" not in text
