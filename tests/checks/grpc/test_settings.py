"""The settings of the kind: what can never work is refused, and no secret is in what is said."""

from pathlib import Path

import pytest

from petsage_grpc.checks.grpc import GrpcCheck
from petsage_grpc.settings_load import load_settings


@pytest.mark.parametrize(
    "address",
    [
        "ledger:50051", "ledger.shop.svc:50051", "127.0.0.1:50051", "[::1]:50051",
        "[fe80::1%eth0]:50051", "dns:///ledger:50051", "passthrough:///ledger:50051",
        "unix:/run/a b.sock", "unix:///run/a.sock", "unix:a.sock", "bücher.example:50051",
    ],
)  # fmt: skip
def test_every_way_to_write_an_address_is_taken(address: str) -> None:
    assert GrpcCheck(address=address).address == address


@pytest.mark.parametrize(
    "address",
    [
        "", "ledger", "ledger:", ":50051", "ledger:0", "ledger:65536", "ledger:http", "::1:50051",
        "[::1]", "[ledger]:50051", "led ger:50051", "ledger:50051 ", "unix:", "unix://a.sock",
        "unix:/a\0b", "..:50051\n",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"^address: .*write it like \"ledger:50051\""):
        GrpcCheck(address=address)


@pytest.mark.parametrize(
    "address",
    ["http://user:hunter2@ledger:50051", "user:hunter2@ledger:50051", "dns://hunter2/ledger:50051"],
)
def test_what_may_hold_a_password_is_refused_without_saying_it(address: str) -> None:
    with pytest.raises(ValueError, match=r"^address: it is a URL or the like: ") as refused:
        GrpcCheck(address=address)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("a header", "hunter2", "'a header' is no name"),
        ("", "hunter2", "'' is no name"),
        ("grpc-timeout", "hunter2", "'grpc-timeout' belongs to the protocol"),
        ("User-Agent", "hunter2", "'User-Agent' belongs to the protocol"),
        ("petsage-hops", "hunter2", "'petsage-hops' belongs to the protocol"),
        ("token", "hunter2\n", "the value of 'token' must be printable ASCII"),
        ("token", " hunter2", "the value of 'token' must be printable ASCII"),
        ("token", "hünter2", "the value of 'token' must be printable ASCII"),
    ],
)
def test_a_header_that_can_not_be_sent_is_refused_without_its_value(
    name: str, value: str, said: str
) -> None:
    with pytest.raises(ValueError, match=f"^headers: {said}") as refused:
        GrpcCheck(address="ledger:50051", headers={name: value})
    assert "nter2" not in str(refused.value)


@pytest.mark.parametrize("authority", ["a b", "ledger/x", "ü", "a@b"])
def test_what_is_no_authority_is_refused(authority: str) -> None:
    with pytest.raises(ValueError, match=r"^authority: no server is called "):
        GrpcCheck(address="ledger:50051", authority=authority)


def test_it_is_made_of_the_settings_and_does_not_show_its_headers(tmp_path: Path) -> None:
    file = tmp_path / "petsage.toml"
    file.write_text(
        '[checks.ledger]\nkind = "grpc"\naddress = "ledger:50051"\nservice = "shop.Ledger"\n'
        'headers = { Authorization = "Bearer ${TOKEN}" }\nwatch = false\n'
    )
    made = load_settings(file, environ={"TOKEN": "hunter2"}).checks["ledger"].check
    assert isinstance(made, GrpcCheck)
    assert (made.service, made.watch, made.outside) == ("shop.Ledger", False, True)
    assert dict(made.headers) == {"Authorization": "Bearer hunter2"}
    assert "hunter2" not in repr(made)
    assert "hunter2" not in made.redact("Bearer hunter2, hunter2")
