"""What deploy/ names is there, and its numbers agree with the settings and with each other."""

import configparser
import json
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
import trustme

from petsage_grpc.cli import probe
from petsage_grpc.core.fold import LIVENESS, READINESS, STARTUP
from petsage_grpc.core.units import parse_duration
from petsage_grpc.errors import SettingsError
from petsage_grpc.settings import Settings
from petsage_grpc.settings_exposure import exposure_risks
from petsage_grpc.settings_listen import parse_listen
from petsage_grpc.settings_load import load_settings
from tests.hostile.subjects import GIVES_BACK
from tests.processes import run, served

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
UNIT = (DEPLOY / "petsage-grpc.service").read_text()
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
MANIFEST = (DEPLOY / "kubernetes.yaml").read_text()
DEFAULTS = Settings()
INSTALLED = "/opt/petsage-grpc/bin/petsage-grpc"


def unit(key: str) -> str:
    """Read a line of the unit that is there once."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(UNIT)
    return parser["Service"][key]


def numbers(pattern: str, text: str = MANIFEST) -> set[int]:
    return {int(number) for number in re.findall(pattern, text)}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A folder as the manifest mounts it, with real files."""
    leaf = trustme.CA().issue_cert("localhost", "127.0.0.1")
    for folder in ("tls", "tokens"):
        (tmp_path / folder).mkdir()
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "tls/tls.crt")
    leaf.private_key_pem.write_to_path(tmp_path / "tls/tls.key")
    (tmp_path / "tokens/tokens").write_text(f"{'0123456789abcdef' * 4}\n")
    (tmp_path / "tokens/tokens").chmod(0o440)
    return tmp_path


@pytest.fixture
def settings_of_manifest(secrets: Path) -> Path:
    """The file of the manifest, as a pod sees it."""
    block = MANIFEST.split("petsage.toml: |\n")[1].split("\n---\n")[0]
    path = secrets / "petsage.toml"
    path.write_text(textwrap.dedent(block).replace("/run/secrets", str(secrets)))
    return path


def settings_of(path: Path) -> Settings:
    return load_settings(path, environ={"HOSTNAME": "petsage-grpc-0"})


def test_the_settings_of_the_manifest_load_and_are_no_risk(settings_of_manifest: Path) -> None:
    assert exposure_risks(settings_of(settings_of_manifest), contained=True) == []


def test_the_settings_of_the_manifest_come_from_its_volumes(settings_of_manifest: Path) -> None:
    mounted = set(re.findall(r"mountPath: ([\w/-]+)", MANIFEST))
    named = {str(Path(path).parent) for path in re.findall(r'"(/run/secrets/[^"]+)"', MANIFEST)}
    assert named <= mounted
    assert str(Path(re.findall(r'"--config", "([^"]+)"', MANIFEST)[0]).parent) in mounted
    assert DEFAULTS.checks["disk"].check.directory in mounted  # type: ignore[attr-defined]


def test_the_ports_of_the_manifest_are_those_of_its_settings(settings_of_manifest: Path) -> None:
    settings = settings_of(settings_of_manifest)
    asked = {parse_listen(address)[1] for address in settings.listen}
    probed = {parse_listen(address)[1] for address in settings.probe_listen}
    assert numbers(r"containerPort: (\d+)") == asked | probed
    assert numbers(r"grpc: {port: (\d+)") == probed
    assert numbers(r"\{name: grpc, port: (\d+)") == asked


def test_the_probes_of_the_manifest_ask_for_names_that_there_are() -> None:
    asked = dict(re.findall(r"(\w+)Probe:\n +grpc: {port: \d+, service: (\w+)}", MANIFEST))
    assert asked == {"startup": STARTUP, "readiness": READINESS, "liveness": LIVENESS}


def test_a_probe_port_of_the_manifest_answers_what_the_kubelet_asks(
    settings_of_manifest: Path,
) -> None:
    text = settings_of_manifest.read_text()
    settings_of_manifest.write_text(re.sub(r"0\.0\.0\.0:\d+", "127.0.0.1:0", text))
    with served("--config", str(settings_of_manifest), HOSTNAME="petsage-grpc-0") as process:
        process.wait_for("check disk is passing")
        process.wait_for("check log is passing")
        place = process.wait_for(r"probes are answered on (\S+),")[1]
        for name in (STARTUP, READINESS, LIVENESS):
            assert run("probe", f"-addr={place}", f"-service={name}").returncode == 0


def test_nobody_kills_it_before_its_grace_time_is_over() -> None:
    (kubernetes,) = numbers(r"terminationGracePeriodSeconds: (\d+)")
    assert kubernetes > DEFAULTS.grace
    assert int(unit("TimeoutStopSec")) > DEFAULTS.grace


def test_the_unit_admits_as_many_connections_and_bytes_as_the_settings() -> None:
    assert int(unit("LimitNOFILE")) > DEFAULTS.max_connections
    memory = DEFAULTS.max_watchers * 23_000  # as the README has it
    assert unit("MemoryMax") == "1G"
    assert memory < 2**30 / 2
    assert "limits: {memory: 1Gi}" in MANIFEST


def test_the_tmpfs_of_the_manifest_has_the_space_that_the_check_wants() -> None:
    (size,) = numbers(r"sizeLimit: (\d+)Mi")
    assert size * 2**20 > DEFAULTS.checks["disk"].check.min_free  # type: ignore[attr-defined]


def test_bad_settings_are_not_tried_again_and_again() -> None:
    assert int(unit("RestartPreventExitStatus")) == SettingsError.exit_code


def test_the_command_of_the_unit_runs(tmp_path: Path) -> None:
    command, *arguments = unit("ExecStart").split()
    assert command == INSTALLED
    config = arguments[arguments.index("--config") + 1]
    (tmp_path / "petsage.toml").write_text('listen = "127.0.0.1:0"\n')
    arguments = [str(tmp_path / "petsage.toml") if it == config else it for it in arguments]
    assert arguments[0] == "serve"
    with served(*arguments[1:], "--listen=127.0.0.1:0") as process:
        process.wait_for("check disk is passing")


def test_the_credentials_of_the_unit_can_be_named_in_the_settings(secrets: Path) -> None:
    named = re.findall(r"LoadCredential=([\w.]+):", UNIT)
    credentials = secrets / "credentials"
    credentials.mkdir()
    for name in named:
        (found,) = secrets.glob(f"*/{name}")
        found.rename(credentials / name)
    path = secrets / "petsage.toml"
    path.write_text(
        'token_files = ["${CREDENTIALS_DIRECTORY}/tokens"]\n'
        'tls_cert = "${CREDENTIALS_DIRECTORY}/tls.crt"\n'
        'tls_key = "${CREDENTIALS_DIRECTORY}/tls.key"\n'
    )
    settings = load_settings(path, environ={"CREDENTIALS_DIRECTORY": str(credentials)})
    assert settings.token_files == (str(credentials / "tokens"),)
    assert set(named) == {"tokens", "tls.crt", "tls.key"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_it_is_run_with_the_variables_with_which_its_memory_was_measured() -> None:
    told = [f"{key}={value}" for key, value in GIVES_BACK.items()]
    assert unit("Environment").split() == told
    for text in (DOCKERFILE, (ROOT / "Makefile").read_text()):
        assert all(variable in text for variable in told)


def test_systemd_has_nothing_to_say_of_the_unit(tmp_path: Path) -> None:
    path = tmp_path / "petsage-grpc.service"
    path.write_text(UNIT.replace(INSTALLED, sys.executable))
    for command in (("verify", "--man=no"), ("security", "--offline=true", "--threshold=15")):
        ran = subprocess.run(
            ["systemd-analyze", *command, str(path)], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        assert "petsage-grpc.service:" not in ran.stderr


def instructions(stage: int = -1) -> list[tuple[str, str]]:
    """Read the instructions of a stage of the Dockerfile."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    text = re.split(r"(?m)^FROM ", joined)[stage]
    pairs = [line.partition(" ") for line in text.splitlines()[1:] if line]
    return [(word, rest) for word, _, rest in pairs]


def test_the_image_runs_as_a_user_by_number_without_privileges() -> None:
    said = dict(instructions())
    user, _, group = said["USER"].partition(":")
    assert int(user) > 999
    assert int(group) > 999
    assert f"runAsUser: {user}\n" in MANIFEST
    assert f"fsGroup: {group}\n" in MANIFEST


def test_the_commands_of_the_image_need_no_shell() -> None:
    said = dict(instructions())
    for word in ("ENTRYPOINT", "CMD"):
        assert all(isinstance(part, str) for part in json.loads(said[word]))
    command = json.loads(said["HEALTHCHECK"].partition("CMD ")[2])
    assert command[:2] == ["petsage-grpc", "probe"]
    options = probe._read_options(command[2:])
    probe._check_options(options)
    assert options.service == LIVENESS
    assert parse_listen(options.addr)[1] == int(said["EXPOSE"])
    timeout = re.findall(r"--timeout=(\S+)", said["HEALTHCHECK"])[0]
    assert parse_duration(timeout) > options.connect_timeout + options.rpc_timeout


def test_the_command_of_the_image_listens_where_its_health_check_asks() -> None:
    said = dict(instructions())
    assert json.loads(said["ENTRYPOINT"]) == ["petsage-grpc"]
    verb, *arguments = json.loads(said["CMD"])
    assert (verb, arguments[0]) == ("serve", "--listen")
    assert parse_listen(arguments[1]) == ("0.0.0.0", int(said["EXPOSE"]))
    assert not [rest for word, rest in instructions() if word == "ENV" and "PETSAGE_" in rest]


def test_what_the_image_copies_and_installs_is_there() -> None:
    copied = [rest.split()[:-1] for word, rest in instructions(1) if word == "COPY"]
    assert all((ROOT / name).exists() for names in copied for name in names)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (chosen,) = [rest for word, rest in instructions(1) if word == "ARG"]
    assert chosen.partition("=")[2] in extras["optional-dependencies"]


def test_every_variable_that_is_named_is_a_setting() -> None:
    known = {f"PETSAGE_{name.upper()}" for name in Settings.__dataclass_fields__}
    for path in DEPLOY.iterdir():
        assert set(re.findall(r"\bPETSAGE_[A-Z_]+", path.read_text())) <= known, path
