"""The example of somebody else's package: installed, all of it is there; removed, all is gone."""

import re
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from petsage_grpc.rpc import stubs as pb
from tests import processes
from tests.processes import PATIENCE, Served, run, served, settings_file

EXAMPLE: Final = Path(__file__).parent.parent / "examples" / "petsage-paws"
PAWS: Final = "petsage.paws.v1.PawsService"
Status = health_pb2.HealthCheckResponse


def pip(environment: Path, *arguments: str) -> None:
    """Run pip in an environment, without any network."""
    ran = subprocess.run(
        [
            sys.executable, "-m", "pip", "--disable-pip-version-check", "--python",
            str(environment / "bin" / "python"), *arguments, "--quiet",
        ],
        check=False, timeout=PATIENCE, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own that sees what this one has, with the example installed."""
    folder = tmp_path_factory.mktemp("outsider")
    made = folder / "venv"
    venv.create(made, symlinks=True)
    packages = sysconfig.get_path("purelib", "venv", {"base": str(made), "platbase": str(made)})
    ours = [path for path in [*site.getsitepackages(), *sys.path] if path.endswith("-packages")]
    lines = [f"import site; site.addsitedir({path!r})" for path in dict.fromkeys(ours)]
    Path(packages, "ours.pth").write_text("\n".join(lines))
    source = folder / "source"  # a build leaves files there
    shutil.copytree(EXAMPLE, source)
    pip(made, "install", "--no-index", "--no-deps", "--no-build-isolation", str(source))
    return made


@pytest.fixture(autouse=True)
def outsider(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands run in that environment."""
    command = (str(environment / "bin" / "python"), "-m", "petsage_grpc")
    monkeypatch.setattr(processes, "PETSAGE", command)


@pytest.fixture(scope="module")
def serving(environment: Path) -> Iterator[Served]:
    """A service without any settings."""
    with pytest.MonkeyPatch.context() as patch:
        command = (str(environment / "bin" / "python"), "-m", "petsage_grpc")
        patch.setattr(processes, "PETSAGE", command)
        with served() as process:
            process.wait_for("check paws is passing")
            process.wait_for("check features is passing")
            yield process


@pytest.fixture(scope="module")
def channel(serving: Served) -> Iterator[grpc.Channel]:
    """To the plane."""
    with grpc.insecure_channel(serving.address) as made:
        yield made


@pytest.fixture(scope="module")
def features(serving: Served) -> Iterator[grpc.Channel]:
    """To the services of the features."""
    address = serving.wait_for(r"the features listen on (\S+)")[1]
    with grpc.insecure_channel(address) as made:
        yield made


def services(channel: grpc.Channel) -> list[str]:
    found: Any = ProtoReflectionDescriptorDatabase(channel)
    return list(found.get_services())


def smoke(channel: grpc.Channel, feature: str = "") -> pb.SmokeTestResponse:
    return pb.SmokeTestServiceStub(channel).SmokeTest(pb.SmokeTestRequest(feature=feature))


def health(channel: grpc.Channel, name: str) -> int:
    stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
    answer = stub.Check(health_pb2.HealthCheckRequest(service=name))
    return answer.status  # type: ignore[no-any-return]


def watched(channel: grpc.Channel, name: str, status: int) -> bool:
    """Wait until a name has the status; say whether it has."""
    stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE)
    found = any(answer.status == status for answer in watch)
    watch.cancel()
    return found


def test_its_service_is_found_described_and_called_as_a_tool_does_it(
    features: grpc.Channel,
) -> None:
    assert PAWS in services(features)
    database: Any = ProtoReflectionDescriptorDatabase(features)
    file: FileDescriptorProto = database.FindFileContainingSymbol(PAWS)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    method = pool.FindServiceByName(PAWS).methods_by_name["Shake"]
    request = message_factory.GetMessageClass(method.input_type)(name="Rex")
    response = message_factory.GetMessageClass(method.output_type)
    call: Any = features.unary_unary(f"/{PAWS}/Shake")
    answer: Any = response.FromString(call(request.SerializeToString()))
    assert answer.message == "Rex shakes your hand."


def test_its_service_has_a_health_name_on_both_ports(
    channel: grpc.Channel, features: grpc.Channel, serving: Served
) -> None:
    serving.wait_for("check disk is passing")
    serving.wait_for("check log is passing")
    assert health(channel, PAWS) == Status.SERVING
    assert watched(features, PAWS, Status.SERVING)


def test_its_feature_has_a_smoke_test(channel: grpc.Channel) -> None:
    answer = smoke(channel, "paws")
    assert (answer.feature, answer.message) == ("paws", "All paws are fine.")
    assert answer.status == pb.STATUS_OK
    assert [check.name for check in answer.checks] == ["paws"]
    whole = smoke(channel)
    assert [check.name for check in whole.checks] == ["disk", "log", "features", "paws"]
    assert list(whole.features) == ["paws"]


def test_its_kind_and_its_feature_are_listed_with_who_brings_them() -> None:
    listed = run("checks")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert 'kind = "bowl"  (of petsage-paws)\n  Fails when a file has not been' in listed.stdout
    assert "  file = (must be set)  (string)\n" in listed.stdout
    assert "  max_age = 86400  (duration)\n" in listed.stdout
    assert f"feature paws (petsage-paws)\n  serves {PAWS}\n  check paws " in listed.stdout


def test_its_kind_is_used_in_a_settings_file_like_any_other(tmp_path: Path) -> None:
    bowl = tmp_path / "bowl"
    file = settings_file(
        tmp_path, "[checks.food]", 'kind = "bowl"', f'file = "{bowl}"', 'max_age = "1h"',
        "interval = 0.05", "edge_interval = 0.05",
        "[features.paws]", 'message = "Woof."', 'checks = ["food"]',
    )  # fmt: skip
    told = run("checks", f"--config={file}")
    assert (told.returncode, told.stderr) == (0, "")
    assert "  check food (bowl) every 50ms gates readiness, startup\n" in told.stdout
    assert f"  feature paws (petsage-paws)\n    serves {PAWS}\n" in told.stdout
    with served(f"--config={file}") as process:
        process.wait_for(rf"check food failed: {re.escape(str(bowl))}: No such file or directory")
        bowl.touch()
        process.wait_for("check food is passing")
        with grpc.insecure_channel(process.address) as channel:
            answer = smoke(channel, "paws")
            assert [check.name for check in answer.checks] == ["paws", "food"]


def test_wrong_settings_of_its_kind_are_told_with_the_mend(tmp_path: Path) -> None:
    file = settings_file(tmp_path, "[checks.food]", 'kind = "bowl"', 'file = "a"', "max_age = 0")
    told = run("checks", f"--config={file}")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == (
        f"petsage-grpc checks: {file}: checks.food.max_age: must be longer than 0: write it like"
        ' "26h"\n'
    )


def test_its_stubs_are_those_of_its_proto(tmp_path: Path) -> None:
    folder = tmp_path / "petsage_paws"
    folder.mkdir()
    shutil.copy(EXAMPLE / "petsage_paws" / "paws.proto", folder)
    plugin = Path(sys.executable).parent / "protoc-gen-mypy_grpc"
    kinds = [f"--{kind}_out=." for kind in ("python", "pyi", "grpc_python", "mypy_grpc")]
    subprocess.run(
        [
            sys.executable, "-m", "grpc_tools.protoc", "-I.",
            f"--plugin=protoc-gen-mypy_grpc={plugin}", *kinds, "petsage_paws/paws.proto",
        ],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    made = sorted(path.name for path in folder.glob("*_pb2*"))
    assert made == sorted(path.name for path in (EXAMPLE / "petsage_paws").glob("*_pb2*"))
    for name in made:
        assert (folder / name).read_text() == (EXAMPLE / "petsage_paws" / name).read_text(), name


def test_when_it_is_removed_all_of_it_is_gone(environment: Path, tmp_path: Path) -> None:
    bare = tmp_path / "venv"
    shutil.copytree(environment, bare, symlinks=True)
    pip(bare, "uninstall", "--yes", "petsage-paws")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "PETSAGE", (str(bare / "bin" / "python"), "-m", "petsage_grpc"))
        listed = run("checks")
        assert listed.returncode == 0
        assert "bowl" not in listed.stdout
        assert "paws" not in listed.stdout
        with served() as process, grpc.insecure_channel(process.address) as channel:
            assert PAWS not in services(channel)
            assert list(smoke(channel).features) == []
            with pytest.raises(grpc.RpcError) as caught:
                smoke(channel, "paws")
            assert 'unknown feature "paws"; there is "smoke_test"' in str(caught.value)
            with pytest.raises(grpc.RpcError) as caught:
                health(channel, PAWS)
            assert "NOT_FOUND" in str(caught.value)
