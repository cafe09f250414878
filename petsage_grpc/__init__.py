"""petsage_grpc: the health service of a Python gRPC backend."""

TYPE_CHECKING = False  # that of typing, whose import takes longer than all else here
if TYPE_CHECKING:
    from petsage_grpc.core.check import Check, CheckFailedError
    from petsage_grpc.core.units import Duration, Size
    from petsage_grpc.errors import BindError, PetsageError, PlaneError, SettingsError
    from petsage_grpc.plane.features import Feature
    from petsage_grpc.plane.health_plane import HealthPlane
    from petsage_grpc.plane.heartbeats import Heartbeat
    from petsage_grpc.plane.mounted import MountedPlane

__all__ = [
    "BindError", "Check", "CheckFailedError", "Duration", "Feature", "HealthPlane", "Heartbeat",
    "MountedPlane", "PetsageError", "PlaneError", "SettingsError", "Size", "__version__",
]  # fmt: skip

__version__ = "0.1.0"

_HOMES = {
    "BindError": "petsage_grpc.errors",
    "Check": "petsage_grpc.core.check",
    "CheckFailedError": "petsage_grpc.core.check",
    "Duration": "petsage_grpc.core.units",
    "Feature": "petsage_grpc.plane.features",
    "HealthPlane": "petsage_grpc.plane.health_plane",
    "Heartbeat": "petsage_grpc.plane.heartbeats",
    "MountedPlane": "petsage_grpc.plane.mounted",
    "PetsageError": "petsage_grpc.errors",
    "PlaneError": "petsage_grpc.errors",
    "SettingsError": "petsage_grpc.errors",
    "Size": "petsage_grpc.core.units",
}
"""Where each name is found once it is asked for, so that who needs one does not wait for all."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 -- only then

    found: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(globals().keys() | _HOMES.keys())
