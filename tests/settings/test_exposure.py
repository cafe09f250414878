"""What the settings show too much of, or hide from who must ask, is said; and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import trustme

from petsage_grpc.settings import Settings
from petsage_grpc.settings_exposure import exposure_risks, in_container

TOKEN = "0123456789abcdef0123456789abcdef"
PLAIN = (
    "listen: {} answers without TLS whoever can reach it: set tls_cert and tls_key, or listen on"
    " 127.0.0.1"
)
OUTSIDE = (
    "{}: {} can not be reached from outside of this container, not by the kubelet's probe either:"
    " listen on 0.0.0.0, or have the probe run inside"
)


def risks(*, contained: bool = False, **given: Any) -> list[str]:
    return exposure_risks(Settings(**given), contained=contained)


@pytest.fixture
def tls(tmp_path: Path) -> dict[str, str]:
    """The settings of TLS, with files that can be used."""
    leaf = trustme.CA().issue_cert("localhost")
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    leaf.cert_chain_pems[0].write_to_path(cert)
    leaf.private_key_pem.write_to_path(key)
    return {"tls_cert": str(cert), "tls_key": str(key)}


@pytest.fixture
def tokens(tmp_path: Path) -> str:
    path = tmp_path / "tokens"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return str(path)


def test_the_defaults_are_no_risk() -> None:
    assert risks() == []


@pytest.mark.parametrize(
    "address", ["0.0.0.0:50051", "[::]:50051", "192.0.2.7:1", "host.example:1", "[2001:db8::1]:1"]
)
def test_an_address_that_others_reach_without_tls_is_said(address: str) -> None:
    assert risks(listen=("127.0.0.1:1", address)) == [PLAIN.format(address)]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:1", "127.9.9.9:1", "127.1:1", "[::1]:1", "[::1%lo]:1", "[::ffff:127.0.0.1]:1",
     "localhost:1", "unix:/run/petsage.sock"],
)  # fmt: skip
def test_an_address_of_this_machine_alone_is_no_risk(address: str) -> None:
    assert risks(listen=(address,), details="always") == []


@pytest.mark.parametrize("host", ["127.example", "127.0.0.1.example", "localhost.example"])
def test_a_name_that_only_looks_local_is_said(host: str) -> None:
    assert risks(listen=(f"{host}:1",)) == [PLAIN.format(f"{host}:1")]


def test_several_addresses_are_one_line() -> None:
    given = ("192.0.2.1:1", "127.0.0.1:1", "192.0.2.2:1")
    assert risks(listen=given) == [PLAIN.format("192.0.2.1:1, 192.0.2.2:1")]


def test_with_tls_it_is_no_risk_and_reflection_never_is(tls: dict[str, str], tokens: str) -> None:
    given: dict[str, Any] = {"listen": ("0.0.0.0:1",), "probe_listen": ("0.0.0.0:2",), **tls}
    assert risks(**given, details="always", reflection=True) == []
    assert risks(**given, token_files=(tokens,)) == []


def test_the_features_port_is_one_too_where_there_are_features() -> None:
    given: dict[str, Any] = {"features_listen": ("0.0.0.0:50052",)}
    assert risks(**given) == []
    (risk,) = risks(**given, features_package="mine")
    assert risk == PLAIN.format("0.0.0.0:50052").replace("listen:", "features_listen:", 1)


def test_details_for_everybody_who_can_reach_it_are_said() -> None:
    plain, details = risks(listen=("0.0.0.0:1",), details="always")
    assert plain == PLAIN.format("0.0.0.0:1")
    assert details == (
        "details: everybody who can reach 0.0.0.0:1 is told why checks fail, which names hosts and"
        ' directories: set it to "authorized"'
    )


def test_tokens_in_plaintext_are_said_and_never_shown(tokens: str) -> None:
    plain, told = risks(listen=("0.0.0.0:1",), token_files=(tokens,))
    assert plain == PLAIN.format("0.0.0.0:1")
    assert told == (
        "token_files: who listens in on the way to 0.0.0.0:1 reads the tokens: set tls_cert and"
        " tls_key"
    )
    assert TOKEN not in told


def test_tokens_that_authorize_nothing_are_no_risk_of_their_own(tokens: str) -> None:
    assert len(risks(listen=("0.0.0.0:1",), token_files=(tokens,), details="never")) == 1


def test_a_port_that_no_probe_from_outside_of_the_container_reaches_is_said() -> None:
    assert risks(contained=True) == [OUTSIDE.format("listen", "127.0.0.1:50051")]


@pytest.mark.parametrize("listen", [("0.0.0.0:1",), ("127.0.0.1:1", "[::]:1")])
def test_in_a_container_one_address_for_others_is_enough(listen: tuple[str, ...]) -> None:
    assert not [risk for risk in risks(contained=True, listen=listen) if "container" in risk]


def test_a_socket_in_the_file_system_may_be_shared_with_another_container() -> None:
    assert risks(contained=True, listen=("127.0.0.1:1", "unix:/run/petsage.sock")) == []


def test_in_a_container_the_port_for_probes_is_what_counts(tls: dict[str, str]) -> None:
    assert risks(contained=True, probe_listen=("0.0.0.0:2",), **tls) == []
    (risk,) = risks(contained=True, probe_listen=("127.0.0.1:2",), **tls)
    assert risk == OUTSIDE.format("probe_listen", "127.0.0.1:2")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system without a mark of a container."""
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/cgroup").write_text("0::/init.scope\n")
    return tmp_path


@pytest.mark.parametrize(
    ("mark", "text"),
    [
        (".dockerenv", ""),
        ("run/.containerenv", ""),
        ("proc/1/cgroup", "0::/kubepods.slice/kubepods-pod1.slice\n"),
        ("proc/1/cgroup", "1:cpu:/docker/0123\n"),
    ],
)
@pytest.mark.parametrize("family", [(1, 0), (7, 1)])
def test_what_a_container_was_started_for_is_known_by_the_marks_of_engines(
    root: Path, mark: str, text: str, family: tuple[int, int]
) -> None:
    assert not in_container(root, {}, family)
    (root / mark).parent.mkdir(exist_ok=True)
    (root / mark).write_text(text)
    assert in_container(root, {}, family)


def test_a_command_that_somebody_runs_in_a_container_is_not_what_it_was_started_for(
    root: Path,
) -> None:
    (root / ".dockerenv").touch()
    assert not in_container(root, {}, (4711, 4700))


def test_in_kubernetes_there_may_be_another_first_process(root: Path) -> None:
    assert in_container(root, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, (7, 6))


def test_where_there_are_no_process_files_there_is_no_container(tmp_path: Path) -> None:
    assert not in_container(tmp_path, {}, (1, 0))
