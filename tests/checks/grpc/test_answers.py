"""What a health service answers, and what each answer means to the check."""

from pathlib import Path

import grpc
import pytest

from tests.checks.grpc.conftest import CHECK, WATCH, Downstream, MakeCheck, Stock, failure
from tests.processes import served, settings_file


async def test_a_server_that_is_serving_passes(make: MakeCheck, stock: Stock) -> None:
    check = make(stock.address)
    await check.run()
    await check.run()
    assert check.reaches == frozenset()


async def test_a_server_that_says_it_is_not_serving_is_told_from_all_others(
    make: MakeCheck, stock: Stock
) -> None:
    check = make(stock.address)
    stock.set("NOT_SERVING")
    assert await failure(check) == (
        f"{stock.address} says that it is NOT_SERVING: look there for the cause"
    )
    stock.set("SERVING")
    await check.run()


async def test_one_service_of_the_server_can_be_asked_for(make: MakeCheck, stock: Stock) -> None:
    stock.set("NOT_SERVING", "shop.Orders")
    check = make(stock.address, service="shop.Orders")
    assert await failure(check) == (
        f'{stock.address} says that "shop.Orders" is NOT_SERVING: look there for the cause'
    )
    await make(stock.address).run()
    stock.set("SERVING", "shop.Orders")
    await check.run()


async def test_a_service_that_the_server_does_not_know_is_named(
    make: MakeCheck, stock: Stock
) -> None:
    check = make(stock.address, service="shop.Ordres")
    assert await failure(check) == (
        f'{stock.address} does not know the service "shop.Ordres": mend the name, or let it be'
        " registered there"
    )
    stock.set("SERVING", "shop.Ordres")
    await check.run()


async def test_a_server_without_a_health_of_the_whole_is_told(
    make: MakeCheck, downstream: Downstream
) -> None:
    downstream.answer = grpc.StatusCode.NOT_FOUND
    assert await failure(make(downstream.address)) == (
        f'{downstream.address} knows no health of the whole (""): set service to a name that it'
        " knows"
    )


async def test_a_server_without_a_health_service_is_told(make: MakeCheck) -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    assert await failure(make(port)) == (
        f"127.0.0.1:{port} has no health service (grpc.health.v1.Health): add one to it, or use"
        " the kind tcp"
    )
    await server.stop(None)


async def test_another_petsage_service_is_checked_as_any_other(
    make: MakeCheck, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    config = settings_file(
        tmp_path, "[checks.disk]", 'kind = "disk"', f'directory = "{data}"', "min_free = 0",
        "interval = 0.1", "edge_interval = 0.05",
    )  # fmt: skip
    with served("--config", str(config)) as process:
        process.wait_for("check disk is passing")
        check = make(process.address)
        await check.run()
        data.rename(tmp_path / "elsewhere")
        process.wait_for("check disk is failing")
        assert "says that it is NOT_SERVING" in await failure(check)
        await make(process.address, service="liveness").run()
        unknown = make(process.address, service="nobody")
        assert 'does not know the service "nobody"' in await failure(unknown)


async def test_a_unix_socket_can_be_asked(make: MakeCheck, tmp_path: Path) -> None:
    async with Downstream().serving(f"unix:{tmp_path}/health.sock") as downstream:
        await make(downstream.address).run()
        await make(downstream.address.replace("unix:", "unix://")).run()


@pytest.mark.parametrize(
    "form", ["localhost:{0}", "dns:///127.0.0.1:{0}", "passthrough:///127.0.0.1:{0}"]
)
async def test_an_address_may_have_each_form_that_grpc_knows(
    make: MakeCheck, downstream: Downstream, form: str
) -> None:
    await make(form.format(downstream.address.rpartition(":")[2])).run()


async def test_headers_and_authority_are_sent_with_check_and_watch(
    make: MakeCheck, downstream: Downstream
) -> None:
    check = make(
        downstream.address,
        headers={"Authorization": "Bearer 12345678", "trace-bin": "ä"},
        authority="orders.example",
    )
    await check.run()
    await downstream.watched()
    for method in (CHECK, WATCH):
        metadata = downstream.metadata(method)
        assert metadata["authorization"] == "Bearer 12345678"
        assert metadata["trace-bin"] == "ä".encode()
        assert str(metadata["user-agent"]).startswith("petsage-grpc/")


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED]
)
async def test_a_server_that_wants_a_token_is_told_and_the_token_is_not(
    make: MakeCheck, downstream: Downstream, code: grpc.StatusCode, caplog: pytest.LogCaptureFixture
) -> None:
    downstream.answer, downstream.details = code, "Bearer hunter-2 and hunter-2 are\nno good"
    check = make(downstream.address, headers={"authorization": "Bearer hunter-2"})
    assert await failure(check) == (
        f"{downstream.address} refuses to tell its health ({code.name}: *** and *** are\\nno good):"
        " put what it wants to see into headers"
    )
    assert "hunter" not in repr(check)
    assert "hunter" not in caplog.text


async def test_short_values_of_headers_stay_readable(
    make: MakeCheck, downstream: Downstream
) -> None:
    downstream.answer = grpc.StatusCode.INTERNAL
    downstream.details = "127.0.0.1 is broken"
    check = make(downstream.address, headers={"x-shard": "1"})
    assert (await failure(check)).endswith(" answers with INTERNAL: 127.0.0.1 is broken")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"\x08\x00", "says that it is UNKNOWN: look there for the cause"),
        (b"", "says that it is UNKNOWN: look there for the cause"),
        (b"\x08\x63", "says that it is status 99: look there for the cause"),
        (b"\xff\xff", "answers with what is no HealthCheckResponse: is it the right port?"),
        (bytes(32 * 1024), "answers with RESOURCE_EXHAUSTED: "),
        ("SERVICE_UNKNOWN", "knows no health of the whole"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "answers with DEADLINE_EXCEEDED: "),
    ],
)
async def test_any_other_answer_is_a_failure(
    make: MakeCheck, downstream: Downstream, answer: bytes | str | grpc.StatusCode, said: str
) -> None:
    downstream.answer, downstream.details = answer, "much too late"
    check = make(downstream.address)
    assert said in await failure(check)
    downstream.answer = "SERVING"
    await check.run()


async def test_a_long_story_is_cut(make: MakeCheck, downstream: Downstream) -> None:
    downstream.answer, downstream.details = grpc.StatusCode.INTERNAL, "long " * 200
    assert len(await failure(make(downstream.address))) < 300
