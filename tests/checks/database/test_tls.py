"""TLS with PostgreSQL, by both drivers, and with MariaDB: whom a check trusts, and what it says."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import databases, faults
from tests.checks.database.conftest import (
    MYSQL_DRIVERS,
    POSTGRES_DRIVERS,
    Make,
    Server,
    failure_of,
    hangs,
    need,
    passes,
    url_of,
)
from tests.databases import DATABASE, HOST, PASSWORD, PostgresServer

_POSTGRESQL = "SELECT 1 / ssl::int FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
_MARIADB = (
    "SELECT if(variable_value <> '', 1, (SELECT 1 UNION SELECT 2))"
    " FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher'"
)
ENCRYPTED = {
    **dict.fromkeys(POSTGRES_DRIVERS, _POSTGRESQL),
    **dict.fromkeys(MYSQL_DRIVERS, _MARIADB),
}
"""A query for each driver that fails over a connection without TLS."""

Serve = Callable[..., Server]


@pytest.fixture(params=ENCRYPTED)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(driver: str, request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue("postgres" if driver in POSTGRES_DRIVERS else "mariadb")
    return found


@pytest.fixture(scope="module")
def served() -> Iterator[dict[Server, dict[str, Any]]]:
    """What certificate each server shows; they go on without one after this module."""
    certificates: dict[Server, dict[str, Any]] = {}
    yield certificates
    for server in certificates:
        server.stop()


@pytest.fixture
def plain(server: Server, served: dict[Server, dict[str, Any]]) -> Server:
    """A server that speaks no TLS."""
    if served.pop(server, None) is not None:
        server.stop()
        server.start()
    return server


@pytest.fixture
def authority(folder: Path) -> str:
    return str(faults.write_authority(folder))


@pytest.fixture
def serve(
    server: Server, folder: Path, authority: str, served: dict[Server, dict[str, Any]]
) -> Serve:
    """What starts the server anew, if need be, with a certificate."""

    def start(**certificate: Any) -> Server:
        if served.get(server) == certificate:
            return server
        paths = faults.write_certificate(folder, **certificate)
        for path in paths:
            databases.own_folder(path)
            path.chmod(0o600)
        names = ("cert", "key", "ca")
        files = dict(zip(names, (*map(str, paths), authority), strict=True))
        if isinstance(server, PostgresServer):
            own = [f"ssl_{name}_file={file}" for name, file in files.items()]
            options = [word for setting in ("ssl=on", *own) for word in ("-c", setting)]
        else:
            options = [f"--ssl-{name}={file}" for name, file in files.items()]
        server.stop()
        try:
            server.start(*options)
        except AssertionError:
            if not any("SSL is not supported by this build" in line for line in server.lines):
                raise
            need(databases.MissingServerError("no PostgreSQL with TLS: apt-get install postgresql"))
        served[server] = certificate
        return server

    return start


async def test_a_certificate_that_is_right_passes(
    serve: Serve, driver: str, make: Make, authority: str
) -> None:
    url = url_of(serve(), driver)
    await passes(make(url, tls=True, tls_ca_cert=authority, query=ENCRYPTED[driver]))


async def test_an_expired_certificate_fails_until_it_is_renewed(
    serve: Serve, driver: str, make: Make, authority: str
) -> None:
    server = serve(expired=True)
    check = make(url_of(server, driver), tls=True, tls_ca_cert=authority)
    said = await failure_of(check)
    assert said.startswith(f"the certificate of {HOST}:{server.port} ")
    assert "expired" in said
    assert "renew it" in said
    serve()
    await passes(check)


async def test_a_certificate_of_an_unknown_authority_fails(
    serve: Serve, driver: str, make: Make
) -> None:
    server = serve()
    said = await failure_of(make(url_of(server, driver), tls=True))
    assert said.startswith(f"the certificate of {HOST}:{server.port} is not trusted")
    assert "name its authority's file with tls_ca_cert" in said


async def test_a_certificate_for_another_name_fails_unless_that_is_expected(
    serve: Serve, driver: str, make: Make, authority: str
) -> None:
    server = serve(host="db.example.com")
    settings = {"tls": True, "tls_ca_cert": authority}
    said = await failure_of(make(url_of(server, driver), **settings))
    assert said.startswith(f"the certificate of {HOST}:{server.port} is ")
    assert "tls_server_name" in said
    await passes(make(url_of(server, driver), tls_server_name="db.example.com", **settings))
    wrong = make(url_of(server, driver), tls_server_name="other.example.com", **settings)
    assert "other.example.com" in await failure_of(wrong)


async def test_nothing_is_encrypted_unless_it_is_demanded(
    plain: Server, driver: str, make: Make
) -> None:
    assert "can not answer" in await failure_of(
        make(url_of(plain, driver), query=ENCRYPTED[driver])
    )


async def test_any_certificate_passes_where_none_is_verified(
    serve: Serve, driver: str, make: Make
) -> None:
    url = url_of(serve(expired=True), driver)
    await passes(make(url, tls=True, tls_no_verify=True, query=ENCRYPTED[driver]))


async def test_a_server_without_tls_fails_where_it_is_demanded(
    plain: Server, driver: str, make: Make
) -> None:
    said = await failure_of(make(url_of(plain, driver), tls=True))
    assert said.startswith(f"{HOST}:{plain.port} does not speak TLS: set tls = false")
    await passes(make(url_of(plain, driver)))


@pytest.mark.parametrize("driver", POSTGRES_DRIVERS, indirect=True)
async def test_a_server_without_tls_fails_where_the_url_demands_it(
    plain: Server, driver: str, make: Make
) -> None:
    assert await failure_of(make(url_of(plain, driver, query="?sslmode=require"))) == (
        f"{HOST}:{plain.port} does not speak TLS: set tls = false, and no sslmode that demands it"
    )


async def test_a_client_certificate_is_shown_to_a_server_that_demands_one(
    serve: Serve, driver: str, make: Make, authority: str, tmp_path: Path
) -> None:
    server = serve()
    if isinstance(server, PostgresServer):
        rules = server.data / "pg_hba.conf"
        rule = "hostssl all certified all scram-sha-256 clientcert=verify-ca\n"
        rules.write_text(rule + rules.read_text().removeprefix(rule))
        server.execute("DROP ROLE IF EXISTS certified", "SELECT pg_reload_conf()")
        server.execute(f"CREATE ROLE certified LOGIN PASSWORD '{PASSWORD}'")
    else:
        user = f"certified@'%' IDENTIFIED BY '{PASSWORD}' REQUIRE X509"
        server.execute(
            f"CREATE USER IF NOT EXISTS {user}", f"GRANT SELECT ON {DATABASE}.* TO certified@'%'"
        )
    certificate, key = faults.write_certificate(tmp_path, host="client")
    key.chmod(0o600)
    url = url_of(server, driver, user="certified")
    settings = {"tls": True, "tls_ca_cert": authority}
    assert "refuses the login" in await failure_of(make(url, **settings))
    own = {"tls_client_cert": str(certificate), "tls_client_key": str(key)}
    check = make(url, **settings, **own)
    await passes(check)


async def test_a_server_that_answers_garbage_is_told(
    server: Server, driver: str, make: Make
) -> None:
    with faults.speaking() as port:
        said = await failure_of(make(url_of(server, driver, port=port), tls=True))
    assert said.startswith(f"{HOST}:{port} does not ")


async def test_a_server_that_says_nothing_is_waited_for_until_the_timeout(
    server: Server, driver: str, make: Make
) -> None:
    with faults.silent() as port:
        check = make(url_of(server, driver, port=port), tls=True)
        await hangs(check, f"connecting to {HOST}:{port}")


async def test_a_file_that_is_gone_is_told(
    serve: Serve, driver: str, make: Make, authority: str, tmp_path: Path
) -> None:
    own = shutil.copy(authority, tmp_path)
    check = make(url_of(serve(), driver), tls=True, tls_ca_cert=own)
    shutil.move(own, f"{own}.gone")
    said = await failure_of(check)
    assert said.startswith(f"tls_ca_cert: {own!r} can not be read: No such file or directory")


@pytest.mark.parametrize("driver", POSTGRES_DRIVERS, indirect=True)
async def test_a_url_may_demand_tls_itself(
    serve: Serve, driver: str, make: Make, authority: str
) -> None:
    server = serve()
    demand = f"?sslmode=verify-full&sslrootcert={authority}"
    await passes(make(url_of(server, driver, query=demand), query=ENCRYPTED[driver]))
    check = make(url_of(serve(host="db.example.com"), driver, query=demand))
    assert (await failure_of(check)).startswith(f"the certificate of {HOST}:{server.port} is ")
