"""The settings have sane defaults, refuse nonsense by name, and stand in full in petsage.toml."""

import dataclasses
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from petsage_grpc.checks import load_kind
from petsage_grpc.checks._thread import MAX_THREADS
from petsage_grpc.core.check import Check
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.units import Duration, Size
from petsage_grpc.settings import (
    BadSettingError,
    CheckSettings,
    FeatureSettings,
    Settings,
    dotted,
)
from petsage_grpc.settings_fleet import fleet_risks
from petsage_grpc.settings_listen import parse_listen
from petsage_grpc.settings_load import TABLES, fields_of, load_settings

EXAMPLE = Path(__file__).parent.parent.parent / "petsage.toml"

COMMENTED_OUT = {
    "version",  # it changes with every release
    "instance",  # by chance
    "checks.disk.stale_after",  # TOML has no null
    "checks.log.stale_after",
    'groups."petsage.v1.OrdersService"',  # there is no group unless one is made
    "features.paws",  # nor is there a feature
}
"""The settings of the example whose defaults can not be written in TOML."""


def keys(table: Mapping[str, Any], *above: str) -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from keys(value, *above, key)
        else:
            yield dotted((*above, key))


def test_the_example_file_holds_exactly_the_defaults() -> None:
    loaded, default = load_settings(EXAMPLE, environ={}), Settings()
    for field in dataclasses.fields(Settings):
        if field.name != "checks":
            assert getattr(loaded, field.name) == getattr(default, field.name), field.name
    assert list(loaded.checks) == list(default.checks)
    for name, check in default.checks.items():
        assert loaded.checks[name].kind == check.kind
        assert loaded.checks[name].policy == check.policy
        assert vars(loaded.checks[name].check) == vars(check.check)


def test_every_setting_stands_in_the_example_file() -> None:
    wanted = {name for name, *_ in fields_of(Settings)} - set(TABLES)
    for kind in ("disk", "log"):
        settings = [*fields_of(load_kind(kind)), *fields_of(Policy)]
        wanted |= {f"checks.{kind}.{name}" for name in ["kind", *(field[0] for field in settings)]}
    assert set(keys(tomllib.loads(EXAMPLE.read_text()))) == wanted - COMMENTED_OUT


def test_only_what_toml_can_not_say_is_commented_out_in_the_example_file() -> None:
    table, commented_out = "", set()
    for line in EXAMPLE.read_text().splitlines():
        if header := re.fullmatch(r"\[(.+)\]", line):
            table = f"{header[1]}."
        elif setting := re.fullmatch(r'# ([\w".]+) = .+', line):
            commented_out.add(table + setting[1])
    assert commented_out == COMMENTED_OUT


def test_what_is_commented_out_in_the_example_file_can_be_set_so(tmp_path: Path) -> None:
    file = tmp_path / "petsage.toml"
    file.write_text(re.sub(r'(?m)^# ([\w".]+ = .+)$', r"\1", EXAMPLE.read_text()))
    settings = load_settings(file, environ={"HOSTNAME": "orders-7f9c"})
    assert (settings.version, settings.instance) == ("1.2.3", "orders-7f9c")
    assert settings.groups == {"petsage.v1.OrdersService": ("disk", "log")}
    assert settings.features == {
        "paws": FeatureSettings(message="All paws are fine.", checks=("disk",))
    }
    for check in settings.checks.values():
        assert check.policy.stale_after == Policy().believed_for


def test_each_line_of_the_example_file_that_is_no_comment_is_needed() -> None:
    lines = EXAMPLE.read_text().splitlines()
    whole = tomllib.loads("\n".join(lines))
    for number, line in enumerate(lines):
        if line and not line.startswith("#"):
            rest = "\n".join(lines[:number] + lines[number + 1 :])
            try:
                assert tomllib.loads(rest) != whole, line
            except tomllib.TOMLDecodeError:
                continue  # without its header a table's settings stand where they stand already


def test_each_setting_in_the_example_file_is_explained_where_it_first_stands() -> None:
    seen: set[str] = set()
    before = ""
    for line in EXAMPLE.read_text().splitlines():
        setting = re.match(r"(# )?(\w+) = ", line)
        if setting and setting[2] not in seen and setting[2] != "kind":
            seen.add(setting[2])
            assert before.startswith("# "), line
        before = line


def test_an_empty_file_means_the_same_as_the_example_file(tmp_path: Path) -> None:
    empty = tmp_path / "empty.toml"
    empty.touch()
    assert load_settings(empty, environ={}) == load_settings(EXAMPLE, environ={})


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = Settings()
    assert settings.listen == ("127.0.0.1:50051",)
    assert (settings.drain_delay, settings.grace) == (5.0, 25.0)
    assert settings.message == "PetSage Backend is awake and purring!"
    assert settings.reflection
    assert list(settings.checks) == ["disk", "log"]
    assert settings.groups == {}
    assert settings.features == {}
    assert settings.history == 16
    assert settings.max_threads == MAX_THREADS


@pytest.mark.parametrize("name", [field[0] for field in fields_of(Settings)])
def test_every_setting_has_a_help_of_one_line(name: str) -> None:
    helps = {name: text for name, _, _, text in fields_of(Settings)}
    assert helps[name]
    assert "\n" not in helps[name]


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("127.0.0.1:50051", ("127.0.0.1", 50051)),
        ("localhost:0", ("localhost", 0)),
        ("0.0.0.0:65535", ("0.0.0.0", 65535)),
        ("[::1]:50051", ("::1", 50051)),
        ("[::]:0", ("::", 0)),
        ("unix:/run/petsage.sock", ("/run/petsage.sock", -1)),
        ("unix:///run/petsage.sock", ("/run/petsage.sock", -1)),
        ("unix:petsage.sock", ("petsage.sock", -1)),
    ],
)
def test_an_address_to_listen_on_is_read(address: str, place: tuple[str, int]) -> None:
    assert parse_listen(address) == place


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("", "has no port"),
        ("50051", "has no port"),
        ("localhost", "has no port"),
        ("localhost:", "has no port"),
        ("localhost:http", "has no port from 0 to 65535"),
        ("localhost:65536", "has no port from 0 to 65535"),
        ("localhost:-1", "has no port from 0 to 65535"),
        ("localhost:" + 5000 * "1", "has no port from 0 to 65535"),
        ("localhost:\u0665", "has no port from 0 to 65535"),
        (":50051", "is no host and port"),
        ("::1:50051", "is no host and port"),
        ("http://localhost:50051", "is no host and port"),
        ("[]:50051", "is no IPv6 address and port"),
        ("[127.0.0.1]:50051", "is no IPv6 address and port"),
    ],
)
def test_what_is_no_address_to_listen_on_is_refused_with_examples(address: str, what: str) -> None:
    with pytest.raises(ValueError, match=r"is no|has no") as caught:
        parse_listen(address)
    example = 'write it like "127.0.0.1:50051", "[::1]:50051" or "unix:/run/petsage.sock"'
    assert str(caught.value) == f"{address!r} {what}: {example}"


def test_an_address_that_names_no_socket_is_refused_with_an_example() -> None:
    for address in ("unix:", "unix://"):
        with pytest.raises(ValueError, match="names no socket") as caught:
            parse_listen(address)
        assert str(caught.value).endswith('write it like "unix:/run/petsage.sock"')


class _Outside(Check):
    outside = True

    async def run(self) -> None:
        """Pass."""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"listen": ()}, "listen: at least one address is needed"),
        ({"listen": ("nowhere",)}, "listen: 'nowhere' has no port"),
        ({"listen": ("a:1", "a:1")}, "listen: 'a:1' is listed twice"),
        ({"listen": ("unix:/a", "unix:///a")}, "listen: 'unix:///a' is listed twice"),
        ({"grace": 5.0}, r"grace: must be more than drain_delay \(5s\)"),
        ({"watch_send_timeout": 0.0}, "watch_send_timeout: must be more than 0"),
        ({"max_threads": 0}, "max_threads: must be more than 0"),
        ({"history": -1}, "history: must be from 0 to 1000"),
        ({"history": 1001}, "history: must be from 0 to 1000"),
        ({"backend": "my backend"}, "backend: 'my backend' is no name: write at most 64 letters"),
        ({"max_watchers": 0}, "max_watchers: must be more than 0"),
        ({"max_name_length": 0}, "max_name_length: must be more than 0"),
        ({"max_message_size": 0}, "max_message_size: must be more than 0"),
        ({"max_header_size": 1023}, "max_header_size: must be at least 1KiB: no call has less"),
        ({"max_name_length": 2**31}, "max_name_length: must be less than 2GiB"),
        ({"max_message_size": 2**31}, "max_message_size: must be less than 2GiB"),
        ({"max_message_size": 1024}, r"max_message_size: must be more than max_name_length \(1024"),
        ({"details": "all"}, "details: 'all' is none of never, authorized, always"),
        ({"log_level": "info"}, "log_level: 'info' is none of DEBUG, INFO, WARNING, ERROR"),
        ({"groups": {"": ()}}, 'groups."": the service sets this name itself'),
        ({"groups": {"a": ("b",)}}, "groups.a: there is no check 'b'; there are: disk, log"),
        ({"checks": {}, "groups": {"a": ("b",)}}, "groups.a: there is no .* there are: none"),
        (
            {"features": {"paws": FeatureSettings(checks=("b",))}},
            r"features.paws.checks: there is no check 'b'; there are: disk, log",
        ),
    ],
)
def test_nonsense_is_refused_by_the_key_of_the_setting(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadSettingError, match=f"^{message}"):
        Settings(**settings)


def test_a_check_that_reaches_outside_can_not_gate_liveness() -> None:
    check = CheckSettings("outside", _Outside(), Policy(gates=("readiness", "liveness")))
    with pytest.raises(BadSettingError, match=r"^checks\.db\.gates: .* can not gate liveness"):
        Settings(checks={"db": check})


def test_a_check_of_the_process_itself_can_gate_liveness() -> None:
    check = CheckSettings("log", load_kind("log")(), Policy(gates=("liveness",)))
    assert Settings(checks={"log": check}).checks["log"].policy.gates == ("liveness",)


def shared(gates: tuple[str, ...]) -> dict[str, CheckSettings]:
    return {"db": CheckSettings("outside", _Outside(), Policy(gates=gates, shared=True))}


def test_a_shared_check_that_takes_every_replica_out_of_rotation_is_a_risk() -> None:
    (risk,) = fleet_risks(shared(("readiness", "startup")), {"orders": ("db",), "other": ()})
    assert risk == (
        "check db is shared by all replicas and gates readiness, orders: when it fails, all of"
        " them leave rotation at once (docs/gates.md)"
    )
    (risk,) = fleet_risks(shared(()), {"orders": ("db",)})
    assert "gates orders:" in risk


@pytest.mark.parametrize("gates", [(), ("startup",)], ids=["nothing", "startup alone"])
def test_a_shared_check_that_takes_nobody_out_of_rotation_is_none(gates: tuple[str, ...]) -> None:
    assert fleet_risks(shared(gates), {}) == []


def test_a_check_that_each_replica_has_for_itself_is_no_risk_to_all() -> None:
    assert fleet_risks(Settings().checks, {"orders": ("disk",)}) == []


def test_of_two_settings_that_contradict_each_other_the_error_tells_both_sides() -> None:
    with pytest.raises(BadSettingError) as caught:
        Settings(drain_delay=Duration(30.0))
    assert caught.value.key == ("grace",)
    assert caught.value.other is not None
    assert str(caught.value.other) == "drain_delay: must be less than grace (25s)"


def test_the_largest_message_that_grpc_can_limit_is_accepted() -> None:
    assert Settings(max_message_size=Size(2**31 - 1)).max_message_size == 2**31 - 1


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (("listen",), "listen"),
        (("checks", "orders-db", "fall"), "checks.orders-db.fall"),
        (("checks", "a.b", "fall"), 'checks."a.b".fall'),
        (("groups", ""), 'groups.""'),
        (("groups", 'q"\n'), 'groups."q\\"\\n"'),
        (("groups", "käse"), 'groups."käse"'),
    ],
)
def test_the_path_of_a_setting_is_written_as_in_toml(key: tuple[str, ...], text: str) -> None:
    assert dotted(key) == text
