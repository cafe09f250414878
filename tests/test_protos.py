"""The protos: what stands in protos/ is what the installed stubs and our generated ones say."""

import hashlib
import subprocess
import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_health.v1 import health_pb2

ROOT = Path(__file__).parent.parent
PROTOS = ROOT / "protos"


def compiled(path: str, out: Path) -> FileDescriptorProto:
    """Compile a proto of ours with protoc."""
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"-I{PROTOS}",
        f"--descriptor_set_out={out}",
    ]
    subprocess.run([*command, path], check=True)
    (file,) = FileDescriptorSet.FromString(out.read_bytes()).file
    return file


def test_the_health_proto_is_the_canonical_one_to_the_byte() -> None:
    data = (PROTOS / "grpc/health/v1/health.proto").read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (
        3846,
        "3600080a2b5b83ac9e90f0cac3ce4d97fa0a718639e6a380be3f839a019b3f07",
    )


def test_the_health_proto_describes_what_the_installed_stubs_do(tmp_path: Path) -> None:
    ours = compiled("grpc/health/v1/health.proto", tmp_path / "set")
    theirs = FileDescriptorProto()
    health_pb2.DESCRIPTOR.CopyToProto(theirs)
    for file in (ours, theirs):
        for message in (*file.message_type, *(n for m in file.message_type for n in m.nested_type)):
            for field in message.field:
                field.ClearField("json_name")
    key = lambda item: item.name  # noqa: E731 -- the order of messages and methods means nothing
    assert sorted(ours.message_type, key=key) == sorted(theirs.message_type, key=key)
    assert [service.name for service in ours.service] == ["Health"]
    assert sorted(ours.service[0].method, key=key) == sorted(theirs.service[0].method, key=key)
    assert ours.package == theirs.package


def test_the_generated_stubs_are_fresh() -> None:
    ended = subprocess.run(
        [sys.executable, str(ROOT / "tools/stubs.py"), "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
