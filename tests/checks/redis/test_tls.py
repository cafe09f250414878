"""The redis check speaks TLS with a real server, and names what is wrong with it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import faults, redis_servers
from tests.checks.redis.conftest import Make, descriptors, failure, missing, passes, timeout
from tests.faults import HOST
from tests.redis_servers import RedisServer


@pytest.fixture(scope="module", autouse=True)
def _tls(program: str) -> None:
    if not redis_servers.knows_tls():
        missing("a Redis server without TLS: apt-get install redis-server")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> str:
    return str(faults.write_authority(folder))


@pytest.fixture(scope="module")
def secured(folder: Path) -> Iterator[RedisServer]:
    with redis_servers.running_tls(*faults.write_certificate(folder)) as server:
        yield server


async def test_a_server_with_a_trusted_certificate_passes(
    secured: RedisServer, authority: str, make: Make
) -> None:
    for host in (HOST, "localhost"):
        check = make(f"rediss://{host}:{secured.port}", tls_ca_cert=authority, write=True)
        await passes(check)
        await passes(check)


async def test_an_unknown_authority_is_named_until_it_need_not_be_known(
    secured: RedisServer, make: Make
) -> None:
    said = await failure(make(f"rediss://{secured.address}"))
    assert said.startswith(f"the certificate of {secured.address} is not trusted (")
    assert said.endswith("): name its authority's file with tls_ca_cert")
    await passes(make(f"rediss://{secured.address}", tls_no_verify=True))


async def test_another_name_is_named_and_can_be_set(
    folder: Path, authority: str, make: Make
) -> None:
    files = faults.write_certificate(folder, host="cache.example")
    with redis_servers.running_tls(*files) as server:
        url = f"rediss://{server.address}"
        assert await failure(make(url, tls_ca_cert=authority)) == (
            f'the certificate of {server.address} is not for "{HOST}": set tls_server_name to a'
            " name that it is for"
        )
        await passes(make(url, tls_ca_cert=authority, tls_server_name="cache.example"))


async def test_an_expired_certificate_is_named_until_it_is_renewed(
    tmp_path: Path, authority: str, make: Make
) -> None:
    with redis_servers.running_tls(*faults.write_certificate(tmp_path, expired=True)) as server:
        check = make(f"rediss://{server.address}", tls_ca_cert=authority)
        said = f"the certificate of {server.address} has expired: renew it"
        assert await failure(check) == said
        server.kill()
        faults.write_certificate(tmp_path)
        server.start()
        await passes(check)


async def test_a_client_certificate_that_is_demanded_is_named_and_can_be_given(
    folder: Path, authority: str, make: Make
) -> None:
    certificate, key = faults.write_certificate(folder)
    demand = ("--tls-auth-clients", "yes", "--tls-ca-cert-file", authority)
    with redis_servers.running_tls(certificate, key, *demand) as server:
        url = f"rediss://{server.address}"
        said = await failure(make(url, tls_ca_cert=authority))
        assert said == (
            f"{server.address} demands a client certificate: set tls_client_cert and tls_client_key"
        )
        ours = {"tls_client_cert": str(certificate), "tls_client_key": str(key)}
        await passes(make(url, tls_ca_cert=authority, **ours))


async def test_a_server_without_tls_that_is_asked_by_tls_is_named_by_the_timeout(
    server: RedisServer, make: Make
) -> None:
    doing = f"shaking hands with {server.address}, if it speaks TLS"
    assert await timeout(make(f"rediss://{server.address}")) == doing


async def test_a_server_that_answers_tls_with_something_else_is_named(make: Make) -> None:
    with faults.speaking() as port:
        said = await failure(make(f"rediss://{HOST}:{port}"))
    assert said == f"{HOST}:{port} does not speak TLS: write redis instead of rediss in url"


async def test_a_server_with_tls_that_is_asked_without_is_named(
    secured: RedisServer, make: Make
) -> None:
    said = await failure(make(f"redis://{secured.address}"))
    assert "write rediss instead of redis in url" in said
    assert said.startswith(secured.address)


async def test_an_alert_of_tls_is_named(make: Make) -> None:
    with faults.speaking(b"\x15\x03\x01\x00\x02\x02\x46\r\n") as port:
        said = await failure(make(f"redis://{HOST}:{port}"))
    assert said == f"{HOST}:{port} speaks TLS: write rediss instead of redis in url"


async def test_a_file_that_goes_while_the_check_lives_is_named_and_nothing_leaks(
    secured: RedisServer, tmp_path: Path, make: Make
) -> None:
    file = faults.write_authority(tmp_path)
    check = make(f"rediss://{secured.address}", tls_ca_cert=str(file))
    file.unlink()
    before = descriptors()
    said = await failure(check)
    assert said.startswith(f"tls_ca_cert: '{file}' can not be read: ")
    assert descriptors() <= before
    faults.write_authority(tmp_path)
    await passes(check)


async def test_garbage_inside_of_tls_is_named(tmp_path: Path, authority: str, make: Make) -> None:
    with faults.speaking(tls=faults.server_tls(tmp_path)) as port:
        said = await failure(make(f"rediss://{HOST}:{port}", tls_ca_cert=authority))
    assert said.startswith(f"{HOST}:{port} does not speak Redis's protocol (")


async def test_a_restart_between_two_runs_costs_no_failure(
    secured: RedisServer, authority: str, make: Make
) -> None:
    check = make(f"rediss://{secured.address}", tls_ca_cert=authority)
    await passes(check)
    secured.kill()
    secured.start()
    await passes(check)


async def test_a_server_that_is_stopped_is_given_up_at_once(
    secured: RedisServer, authority: str, make: Make
) -> None:
    before = descriptors()
    check = make(f"rediss://{secured.address}", tls_ca_cert=authority)
    await passes(check)
    with secured.frozen():
        assert await timeout(check) == f"waiting for the answer of {secured.address}"
        await asyncio.sleep(0)
        assert descriptors() <= before
    await passes(check)
    with secured.frozen():
        await check.close()
        assert descriptors() <= before


async def test_a_password_of_a_server_with_tls_lets_in(
    folder: Path, authority: str, make: Make
) -> None:
    files = faults.write_certificate(folder)
    with redis_servers.running_tls(*files, "--requirepass", "secret") as server:
        url = f"rediss://:{{}}@{server.address}"
        await passes(make(url.format("secret"), tls_ca_cert=authority))
        said = f"{server.address} refuses the user name or the password: correct them"
        assert await failure(make(url.format("other"), tls_ca_cert=authority)) == said
