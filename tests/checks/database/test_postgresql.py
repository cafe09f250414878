"""PostgreSQL by both of its drivers: what is asked, and what each fault is called."""

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from petsage_grpc.core.units import Duration
from tests import faults
from tests.checks.database.conftest import (
    POSTGRES_DRIVERS,
    WRONG,
    Make,
    connections,
    eventually,
    failure_of,
    hangs,
    passes,
    url_of,
)
from tests.databases import HOST, PASSWORD, PostgresServer


@pytest.fixture(params=POSTGRES_DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_database_that_answers_passes(
    postgres: PostgresServer, driver: str, make: Make
) -> None:
    await passes(make(url_of(postgres, driver)))


async def test_the_password_may_be_given_beside_the_url(
    postgres: PostgresServer, driver: str, make: Make
) -> None:
    await passes(make(url_of(postgres, driver, password=WRONG), password=PASSWORD))


async def test_nothing_in_the_query_stands_for_a_parameter(
    postgres: PostgresServer, driver: str, make: Make
) -> None:
    query = r"SELECT 1 / (count(*))::int WHERE 'a:b?%s' LIKE 'a:b_\%%' AND 7 % 4 = 3 ; "
    await passes(make(url_of(postgres, driver), query=query))


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO pets VALUES ('Tom')",
        "CREATE TABLE toys ()",
        "DROP TABLE pets",
        "CREATE ROLE cat",
        "WITH new AS (INSERT INTO pets VALUES ('Tom') RETURNING *) SELECT * FROM new",
        "SELECT setval('s', 1) FROM (SELECT nextval('s')) AS s",
    ],
)
async def test_a_query_can_not_write(
    postgres: PostgresServer, driver: str, make: Make, query: str
) -> None:
    postgres.execute("CREATE SEQUENCE IF NOT EXISTS s")
    check = make(url_of(postgres, driver, database="postgres"), query=query)
    said = await failure_of(check)
    assert re.fullmatch(
        r"the query writes, but a check may only read \(cannot execute \w.* in a read-only"
        r" transaction\): have it read",
        said,
    )
    assert postgres.execute("SELECT * FROM pets") == []


async def test_a_query_can_not_end_its_transaction_to_write_after_it(
    postgres: PostgresServer, driver: str, make: Make
) -> None:
    url = url_of(postgres, driver, database="postgres")
    with pytest.raises(ValueError, match=r'^query: must be one statement, without any ";"'):
        make(url, query="COMMIT; INSERT INTO pets VALUES ('Tom')")
    await passes(make(url, query="COMMIT"))


async def test_the_server_itself_ends_a_query_that_takes_too_long(
    postgres: PostgresServer, driver: str, make: Make
) -> None:
    check = make(
        url_of(postgres, driver), query="SELECT pg_sleep(30)", statement_timeout=Duration(0.05)
    )
    for _ in range(2):
        assert await failure_of(check) == (
            f"{HOST}:{postgres.port} took longer than statement_timeout = 50ms for the query: make"
            " it quicker, or raise statement_timeout, and timeout above it"
        )


async def test_the_server_ends_a_query_that_nobody_waits_for_any_more(
    postgres: PostgresServer, driver: str, make: Make
) -> None:
    check = make(
        url_of(postgres, driver), query="SELECT pg_sleep(30)", statement_timeout=Duration(0.2)
    )
    await hangs(check, f"asking {HOST}:{postgres.port}")
    assert await eventually(lambda: not connections(postgres))


async def test_a_query_that_takes_too_long_is_not_asked_again(
    postgres: PostgresServer, driver: str, make: Make
) -> None:
    postgres.execute("DROP TABLE IF EXISTS naps", "CREATE TABLE naps AS SELECT 0 AS seconds")
    query = "SELECT pg_sleep(seconds) FROM naps"
    url = url_of(postgres, driver, database="postgres")
    check = make(url, query=query, statement_timeout=Duration(0.3))
    await passes(check)
    postgres.execute("UPDATE naps SET seconds = 30")
    asked = len(postgres.lines)
    assert "took longer" in await failure_of(check)
    postgres.wait_for("due to statement timeout", since=asked)
    cancelled = [line for line in postgres.lines[asked:] if "due to statement timeout" in line]
    assert len(cancelled) == 1


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("SELECT 1 FROM toys", 'relation "toys" does not exist'),
        ("SELECT 1 / 0", "division by zero"),
        ("SELECT nobody()", "function nobody() does not exist"),
    ],
)
async def test_a_query_that_can_not_be_answered_is_told_in_one_line(
    postgres: PostgresServer, driver: str, make: Make, query: str, why: str
) -> None:
    assert await failure_of(make(url_of(postgres, driver), query=query)) == (
        f"{HOST}:{postgres.port} can not answer the query ({why}): correct the query, or what it"
        " needs"
    )


async def test_a_wrong_password_is_told(postgres: PostgresServer, driver: str, make: Make) -> None:
    assert await failure_of(make(url_of(postgres, driver, password=WRONG))) == (
        f"{HOST}:{postgres.port} refuses the login (password authentication failed for user"
        ' "petsage"): check the user, the password and what it may do'
    )


async def test_a_missing_password_is_told(
    postgres: PostgresServer, driver: str, make: Make
) -> None:
    said = await failure_of(make(f"postgresql+{driver}://petsage@{HOST}:{postgres.port}/petsage"))
    assert re.match(rf"{HOST}:{postgres.port} refuses the login \(.*password.*\): check", said)


async def test_an_unknown_database_is_told(
    postgres: PostgresServer, driver: str, make: Make
) -> None:
    assert await failure_of(make(url_of(postgres, driver, database="zoo"))) == (
        f'{HOST}:{postgres.port} has no such database (database "zoo" does not exist): check its'
        " name in the url"
    )


async def test_too_many_connections_are_told(
    postgres: PostgresServer, driver: str, make: Make
) -> None:
    assert await failure_of(make(url_of(postgres, driver, user="limited"))) == (
        f'{HOST}:{postgres.port} has no connection left (too many connections for role "limited"):'
        " close some, or raise the limit"
    )


async def test_a_server_without_any_connection_left_is_told(
    postgres: PostgresServer, driver: str, make: Make
) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(postgres.connect())
        said = await failure_of(make(url_of(postgres, driver)))
    assert said.startswith(f"{HOST}:{postgres.port} has no connection left (")


@pytest.mark.parametrize("host", [HOST, "localhost"])
async def test_a_port_where_nobody_listens_is_told(
    postgres: PostgresServer, driver: str, make: Make, host: str
) -> None:
    with faults.refused() as port:
        said = await failure_of(make(url_of(postgres, driver, host=host, port=port)))
    assert said == (
        f"{host}:{port} refuses connections: is the server running, and is that its port?"
    )


async def test_a_host_without_an_address_is_told(
    postgres: PostgresServer, driver: str, make: Make
) -> None:
    check = make(url_of(postgres, driver, host=faults.UNRESOLVABLE, port=5432))
    said = await failure_of(check)
    assert check.doing == f"looking up {faults.UNRESOLVABLE}"
    assert re.fullmatch(
        rf"the host of {faults.UNRESOLVABLE}:5432 has no address \([A-Z][^\[]*\): check its name,"
        " and the DNS",
        said,
    )


@pytest.mark.parametrize("query", ["", "?sslmode=disable", "?sslmode=allow"])
@pytest.mark.parametrize("words", [faults.GARBAGE, b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_a_server_that_is_another_one_is_told(
    postgres: PostgresServer, driver: str, make: Make, words: bytes, query: str
) -> None:
    with faults.speaking(words) as port:
        said = await failure_of(make(url_of(postgres, driver, port=port, query=query)))
    assert said == f"{HOST}:{port} does not answer as PostgreSQL does: is that its port?"


@pytest.mark.parametrize("query", ["", "?sslmode=disable"])
async def test_a_server_that_hangs_up_is_told(
    postgres: PostgresServer, driver: str, make: Make, query: str
) -> None:
    with faults.speaking(b"") as port:
        said = await failure_of(make(url_of(postgres, driver, port=port, query=query)))
    assert said == f"{HOST}:{port} closed the connection: look into its log"


@pytest.fixture(params=[faults.silent, faults.black_hole])
def mute(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port that says nothing, or does not even take connections."""
    with request.param() as port:
        yield port


@pytest.mark.parametrize("query", ["", "?sslmode=disable"])
async def test_a_server_that_says_nothing_is_waited_for_until_the_timeout(
    postgres: PostgresServer, driver: str, make: Make, mute: int, query: str
) -> None:
    check = make(url_of(postgres, driver, port=mute, query=query))
    await hangs(check, f"connecting to {HOST}:{mute}")


async def test_several_hosts_are_named_together(
    postgres: PostgresServer, driver: str, make: Make
) -> None:
    with faults.refused() as first, faults.refused() as second:
        both = f"?host={HOST}:{first}&host={HOST}:{second}"
        login = "petsage:a-password"
        said = await failure_of(make(f"postgresql+{driver}://{login}@/petsage{both}"))
        assert said.startswith(f"{HOST}:{first}, {HOST}:{second} refuses connections:")
        both = f"?host={HOST}:{first}&host={HOST}:{postgres.port}"
        check = make(f"postgresql+{driver}://petsage@/petsage{both}", password=PASSWORD)
        await passes(check)


async def test_a_server_that_starts_is_told(
    postgres: PostgresServer, driver: str, make: Make
) -> None:
    postgres.stop()
    signal = postgres.data / "recovery.signal"
    signal.touch()
    postgres.start("-c", "restore_command=exec sleep 10 2>/dev/null", until="listening on")
    check = make(url_of(postgres, driver))
    assert await failure_of(check) == (
        f"{HOST}:{postgres.port} takes no connections now (the database system is starting up):"
        " wait for it, or look into its log"
    )
    postgres.kill()
    signal.unlink()
    postgres.start()
    await passes(check)


async def test_a_server_that_shuts_down_is_told(
    postgres: PostgresServer, driver: str, make: Make
) -> None:
    check = make(url_of(postgres, driver))
    with postgres.connect():
        postgres.process.send_signal(postgres.slow_stop)
        postgres.wait_for("smart shutdown request")
        assert await failure_of(check) == (
            f"{HOST}:{postgres.port} takes no connections now (the database system is shutting"
            " down): wait for it, or look into its log"
        )
        postgres.stop()
