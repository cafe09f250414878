"""Who is told details: by token, by certificate, by setting; and what nobody else is told."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2

from petsage_grpc.rpc import stubs as pb
from petsage_grpc.rpc.authorize import Authorizer, TokenFiles
from petsage_grpc.rpc.limits import Refusals
from tests.conftest import ManualClock
from tests.rpc.callers import NEW, OLD, WRONG, ask, bearer, knows_all, write_tokens
from tests.rpc.conftest import SERVING, Backend, Serve

BUSY = 50
"""Calls that are made one after the other."""


async def refusal(backend: Backend, *headers: tuple[str, str]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(backend, *headers)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    return caught.value


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return write_tokens(tmp_path)


async def broken(serve: Serve, **settings: Any) -> Backend:
    """Start a service, and break its disk."""
    backend = await serve(**settings)
    await backend.becomes(SERVING)
    await backend.break_disk()
    return backend


@pytest.fixture
async def guarded(serve: Serve, tokens: Path) -> Backend:
    """A service that wants a token, and whose disk is broken."""
    return await broken(serve, token_files=[str(tokens)])


async def test_every_token_of_the_files_authorises(guarded: Backend) -> None:
    for token in (OLD, NEW):
        assert knows_all(await ask(guarded, bearer(token)))
        assert knows_all(await ask(guarded, ("authorization", f"bEARER   {token} ")))


async def test_who_sends_no_token_gets_all_but_details(guarded: Backend) -> None:
    answer = await ask(guarded)
    assert answer.status == pb.STATUS_FAILING
    assert not knows_all(answer)
    assert not answer.refused


async def test_a_wrong_token_is_said_to_be_wrong(guarded: Backend) -> None:
    for token in (WRONG, OLD[:-1], OLD + "x", "x" * 4_000, ""):
        error = await refusal(guarded, bearer(token))
        assert error.details() == "the bearer token is none of those in token_files"
        assert not error.trailing_metadata()


@pytest.mark.parametrize("value", [OLD, f"Basic {OLD}", "", f"Bearer{OLD}"])
async def test_what_is_no_bearer_token_is_said_to_be_none(guarded: Backend, value: str) -> None:
    error = await refusal(guarded, ("authorization", value))
    assert error.details() == 'the header authorization has no bearer token: send "Bearer TOKEN"'


async def test_of_several_tokens_none_is_picked(guarded: Backend) -> None:
    error = await refusal(guarded, bearer(OLD), bearer(WRONG))
    assert "sent more than once" in (error.details() or "")


async def test_a_wrong_token_is_no_matter_for_health(guarded: Backend) -> None:
    request = health_pb2.HealthCheckRequest()
    assert await guarded.health.Check(request, metadata=[bearer(WRONG)])


async def test_the_answers_of_both_kinds_of_callers_are_never_mixed_up(guarded: Backend) -> None:
    headers = [(), (bearer(OLD),)] * BUSY
    for request in ({}, {"checks": ["disk"]}):
        answers = await asyncio.gather(*(ask(guarded, *sent, **request) for sent in headers))
        assert [knows_all(answer) for answer in answers] == [False, True] * BUSY
        for sent in headers:
            assert knows_all(await ask(guarded, *sent, **request)) == bool(sent)


async def test_a_reason_is_for_authorised_callers_alone(serve: Serve, tokens: Path) -> None:
    backend = await serve(token_files=[str(tokens)])
    if backend._hosted.plane is None:
        pytest.skip("what is said of a name is said within this process")
    backend._hosted.plane.say("mine", serving=False, reason="a host is gone", ttl=None)
    (told,) = (await ask(backend, bearer(OLD))).overrides
    assert told.reason == "a host is gone"
    (told,) = (await ask(backend)).overrides
    assert not told.reason


@pytest.mark.parametrize(("details", "all_know"), [("never", False), ("always", True)])
async def test_where_all_callers_are_alike_no_token_is_looked_at(
    serve: Serve, tokens: Path, details: str, all_know: bool
) -> None:
    backend = await broken(serve, details=details, token_files=[str(tokens)])
    for headers in ((), (bearer(OLD),), (bearer(WRONG),)):
        assert knows_all(await ask(backend, *headers)) == all_know


async def test_without_token_files_nobody_is_authorised_and_no_token_is_wrong(serve: Serve) -> None:
    backend = await broken(serve)
    for headers in ((), (bearer(WRONG),)):
        assert not knows_all(await ask(backend, *headers))


class Call:
    """What is known of a call, where nothing else of it matters."""

    def __init__(self, token: str, peer: str) -> None:
        self._token, self._peer = token, peer

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return [bearer(self._token)]

    def peer(self) -> str:
        return self._peer

    async def abort(self, code: grpc.StatusCode, details: str = "") -> None:
        raise PermissionError(code.name, details)


async def test_wrong_tokens_are_counted_and_make_one_line_a_minute(
    tokens: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals(clock.now)
    authorizer = Authorizer(TokenFiles([str(tokens)]), refusals=refusals)

    async def guess(number: int) -> None:
        with pytest.raises(PermissionError):
            await authorizer.admits(Call(f"{WRONG}{number}", f"ipv4:1.2.3.4:{number}"))  # type: ignore[arg-type]

    for number in range(BUSY):
        await guess(number)
    clock.jump(60)
    await guess(BUSY)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        f"refused 1 wrong tokens, the last of 1.2.3.4: token_files = [{str(tokens)!r}]",
        f"refused {BUSY} wrong tokens, the last of 1.2.3.4: token_files = [{str(tokens)!r}]",
    ]
    assert refusals.counts() == {"token_files": BUSY + 1}


async def test_authorised_callers_are_told_how_often_a_limit_was_reached(guarded: Backend) -> None:
    assert dict((await ask(guarded, bearer(OLD))).refused) == {}
    await refusal(guarded, bearer(WRONG))
    for request in ({}, {"checks": ["disk"]}):
        assert dict((await ask(guarded, bearer(OLD), **request)).refused) == {"token_files": 1}
        assert not (await ask(guarded, **request)).refused
