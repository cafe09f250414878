"""MariaDB: what is asked, and what each fault is called."""

import pymysql  # type: ignore[import-untyped] # brings no types
import pytest

from petsage_grpc.core.units import Duration
from tests import faults
from tests.checks.database.conftest import (
    MYSQL_DRIVERS,
    WRONG,
    Make,
    failure_of,
    hangs,
    passes,
    url_of,
)
from tests.databases import DATABASE, HOST, PASSWORD, USER, MariaDBServer


@pytest.fixture(params=MYSQL_DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_database_that_answers_passes(
    mariadb: MariaDBServer, driver: str, make: Make
) -> None:
    await passes(make(url_of(mariadb, driver)))


async def test_the_password_may_be_given_beside_the_url(
    mariadb: MariaDBServer, driver: str, make: Make
) -> None:
    await passes(make(url_of(mariadb, driver, password=WRONG), password=PASSWORD))


async def test_nothing_in_the_query_stands_for_a_parameter(
    mariadb: MariaDBServer, driver: str, make: Make
) -> None:
    query = r"SELECT 1 FROM pets WHERE name LIKE ':b?%s' OR 7 % 4 = 3;"
    await passes(make(url_of(mariadb, driver), query=query))


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO pets VALUES ('Tom')",
        "CREATE TABLE toys (name text)",
        "DROP TABLE pets",
        "TRUNCATE pets",
        "CREATE DATABASE zoo",
        "SET PASSWORD = PASSWORD('meow')",
    ],
)
async def test_a_query_can_not_write(
    mariadb: MariaDBServer, driver: str, make: Make, query: str
) -> None:
    assert await failure_of(make(url_of(mariadb, driver), query=query)) == (
        "the query writes, but a check may only read (Cannot execute statement in a READ ONLY"
        " transaction): have it read"
    )
    assert not mariadb.execute(f"SELECT * FROM {DATABASE}.pets")


async def test_the_server_itself_ends_a_query_that_takes_too_long(
    mariadb: MariaDBServer, driver: str, make: Make
) -> None:
    check = make(url_of(mariadb, driver), query="SELECT sleep(30)", statement_timeout=Duration(0.1))
    for _ in range(2):
        assert await failure_of(check) == (
            f"{HOST}:{mariadb.port} took longer than statement_timeout = 100ms for the query: make"
            " it quicker, or raise statement_timeout, and timeout above it"
        )


async def test_a_query_that_can_not_be_answered_is_told_in_one_line(
    mariadb: MariaDBServer, driver: str, make: Make
) -> None:
    assert await failure_of(make(url_of(mariadb, driver), query="SELECT 1 FROM toys")) == (
        f"{HOST}:{mariadb.port} can not answer the query (Table 'petsage.toys' doesn't exist):"
        " correct the query, or what it needs"
    )


async def test_a_wrong_password_is_told(mariadb: MariaDBServer, driver: str, make: Make) -> None:
    said = await failure_of(make(url_of(mariadb, driver, password=WRONG)))
    assert said.startswith(f"{HOST}:{mariadb.port} refuses the login (Access denied for user")


async def test_an_unknown_database_is_told(mariadb: MariaDBServer, driver: str, make: Make) -> None:
    assert await failure_of(make(url_of(mariadb, driver, database="zoo"))) == (
        f"{HOST}:{mariadb.port} has no such database (Unknown database 'zoo'): check its name in"
        " the url"
    )


async def test_too_many_connections_are_told(
    mariadb: MariaDBServer, driver: str, make: Make
) -> None:
    with pymysql.connect(host=HOST, port=mariadb.port, user="limited", password=PASSWORD):
        said = await failure_of(make(url_of(mariadb, driver, user="limited", database="")))
    assert said.startswith(f"{HOST}:{mariadb.port} has no connection left (User 'limited' has")


async def test_a_server_without_any_connection_left_is_told(
    mariadb: MariaDBServer, driver: str, make: Make
) -> None:
    mariadb.execute("SET GLOBAL max_connections = 10")
    held = [
        pymysql.connect(host=HOST, port=mariadb.port, user=USER, password=PASSWORD)
        for _ in range(11)  # one more is let in for the administrator
    ]
    said = await failure_of(make(url_of(mariadb, driver)))
    held[0].cursor().execute("SET GLOBAL max_connections = 151")
    for connection in held:
        connection.close()
    assert said == (
        f"{HOST}:{mariadb.port} has no connection left (Too many connections): close some, or raise"
        " the limit"
    )


async def test_a_port_where_nobody_listens_is_told(
    mariadb: MariaDBServer, driver: str, make: Make
) -> None:
    with faults.refused() as port:
        assert await failure_of(make(url_of(mariadb, driver, port=port))) == (
            f"{HOST}:{port} refuses connections: is the server running, and is that its port?"
        )


async def test_a_host_without_an_address_is_told(
    mariadb: MariaDBServer, driver: str, make: Make
) -> None:
    said = await failure_of(make(url_of(mariadb, driver, host=faults.UNRESOLVABLE, port=3306)))
    assert said.startswith(f"the host of {faults.UNRESOLVABLE}:3306 has no address (")


@pytest.mark.parametrize(
    "words",
    [
        faults.GARBAGE,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"\x10\0\0\0" + faults.GARBAGE,
        b"\x10\0\0\0\x0a" + faults.GARBAGE,
        b"\x20\0\0\0\x0axx\0" + faults.GARBAGE,
        b"\0" * 50,
    ],
)
async def test_a_server_that_is_another_one_is_told(
    mariadb: MariaDBServer, driver: str, make: Make, words: bytes
) -> None:
    with faults.speaking(words) as port:
        said = await failure_of(make(url_of(mariadb, driver, port=port)))
    assert said == f"{HOST}:{port} does not answer as MySQL does: is that its port?"


async def test_a_server_that_hangs_up_is_told(
    mariadb: MariaDBServer, driver: str, make: Make
) -> None:
    with faults.speaking(b"") as port:
        said = await failure_of(make(url_of(mariadb, driver, port=port)))
    assert said == f"{HOST}:{port} closed the connection: look into its log"


async def test_a_server_that_says_nothing_is_waited_for_until_the_timeout(
    mariadb: MariaDBServer, driver: str, make: Make
) -> None:
    for fault in (faults.silent, faults.black_hole):
        with fault() as port:
            check = make(url_of(mariadb, driver, port=port))
            await hangs(check, f"connecting to {HOST}:{port}")
