"""What knows and tells how the backend is: checks, names and both servicers, on one event loop."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from petsage_grpc.checks._thread import set_thread_limit
from petsage_grpc.core.clock import Clock, LoopClock
from petsage_grpc.core.fold import OVERALL, STARTUP, Answer, Rule, make_rules
from petsage_grpc.core.hops import is_backend
from petsage_grpc.core.monitor import Monitor
from petsage_grpc.core.names import Names
from petsage_grpc.core.status import Status
from petsage_grpc.core.words import Words
from petsage_grpc.plane.logs import Redactor
from petsage_grpc.rpc._grpc_log import keep_callers_out_of_the_log
from petsage_grpc.rpc.authorize import make_authorizer
from petsage_grpc.rpc.convert import SMOKE_TEST_SERVICE
from petsage_grpc.rpc.health import HealthServicer
from petsage_grpc.rpc.hops import Hops
from petsage_grpc.rpc.limits import Refusals
from petsage_grpc.rpc.smoke_test import FeatureTold, SmokeTestServicer
from petsage_grpc.settings import CheckSettings, Settings

if TYPE_CHECKING:
    from petsage_grpc.plane.features import Feature

__all__ = ["Plane"]


class Plane:
    """The checks of the settings and of the features, and what follows from them.

    All of it belongs to the event loop that runs while it is made; only that one may call it.

    Args:
        settings: what is wanted.
        clock: tells the time, to the monitor as well.
        features: what has checks of its own and is asked for by name.
        checks: further checks.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        features: "Sequence[Feature]" = (),
        checks: Mapping[str, CheckSettings] = MappingProxyType({}),
    ) -> None:
        self.settings = settings
        self.clock = LoopClock() if clock is None else clock
        self._started = False
        self.begun = False
        """Whether all that was declared before the start has been taken in."""
        self.checks = {**settings.checks, **checks}
        """All checks, those of the features too."""
        self._services = [SMOKE_TEST_SERVICE, *settings.services]
        for feature in features:
            self.checks |= feature.checks
            self._services += feature.service_names
        self.redact = Redactor(check.check for check in self.checks.values())
        """Replaces what the checks hide in a text."""
        set_thread_limit(settings.max_threads)
        keep_callers_out_of_the_log()
        instance = settings.instance or os.urandom(4).hex()
        self._backend = settings.backend or (
            instance if is_backend(instance) else os.urandom(4).hex()
        )
        for made in self.checks.values():
            self._tell_backend(made.check)
        self._words = Words(self.clock)
        self.names = Names(self.clock.now, self._words)
        self.monitor = Monitor(
            {name: (check.check, check.policy) for name, check in self.checks.items()},
            self._make_rules(),
            self.names,
            self.clock,
            words=self._words,
            refresh_interval=settings.refresh_interval,
            history=settings.history,
        )
        self._asked = [check.check for check in self.checks.values()]
        self.refusals = Refusals(self.clock.now)
        """How often each limit has been reached."""
        self.health = HealthServicer(
            self.names,
            max_watchers=settings.max_watchers,
            max_watchers_per_peer=settings.max_watchers_per_peer,
            max_unknown_names=settings.max_unknown_names,
            max_name_length=settings.max_name_length,
            send_timeout=settings.watch_send_timeout,
            hops=Hops(self._backend, self._asked),
            refusals=self.refusals,
        )
        self.smoke_test = SmokeTestServicer(
            self.monitor,
            self.clock,
            message=settings.message,
            version=settings.version,
            instance=instance,
            with_details=make_authorizer(settings, self.clock, self.refusals),
            refused=self.refusals.counts,
            redact=self.redact,
            features={f.name: FeatureTold(f.message, f.depends) for f in features},
        )

    def add_check(self, name: str, made: CheckSettings, delay: float = 0.0) -> None:
        """Take in one more check while it runs, and begin with it after so many seconds.

        Once startup is SERVING it stays so, for good: no check that comes later gates it.
        """
        if self.begun and self.names.read_checks(STARTUP) is Status.SERVING:
            gates = tuple(gate for gate in made.policy.gates if gate != STARTUP)
            made = replace(made, policy=replace(made.policy, gates=gates))
        self.checks[name] = made
        self._asked.append(made.check)
        self.redact.add(made.check)
        self._tell_backend(made.check)
        self.monitor.add(name, made.check, made.policy, self._make_rules(), delay)

    def say(self, name: str, *, serving: bool, reason: str, ttl: float | None) -> None:
        """Say how a name is, whatever its checks say.

        Args:
            name: a name that there is, or a new one.
            serving: what it answers from now on.
            reason: why.
            ttl: seconds for which that holds; without it until something else is said.
        """
        self._words.say(name, serving=serving, reason=reason, ttl=ttl)
        self.register(name)

    def register(self, name: str) -> None:
        """Make a name known: as long as nothing is said of it, nobody vouches for it."""
        if name not in self.names:
            self.names.put(name, Answer(Status.NOT_SERVING))

    def end_startup(self) -> None:
        """Have startup be SERVING from now on: it was so once, and that is for good."""
        self._started = True
        self._rules[STARTUP] = replace(self._rules[STARTUP], checks=())  # the monitor's, too
        self.names.put(STARTUP, Answer(Status.SERVING))

    def take_back(self, name: str) -> None:
        """Forget what was said of a name; one that has no checks is unknown then."""
        self._words.take_back(name)
        if name not in self._rules:
            self.names.drop(name)

    def _make_rules(self) -> dict[str, Rule]:
        gates = {name: check.policy.gates for name, check in self.checks.items()}
        rules = self._rules = make_rules(gates, self.settings.groups, self._services)
        if self._started:
            rules[STARTUP] = replace(rules[STARTUP], checks=())
        services = (name for name in self._services if name not in self.settings.groups)
        self._words.followers = (OVERALL, *services)
        return rules

    def _tell_backend(self, check: Any) -> None:  # noqa: ANN401 -- a check of any kind
        own = getattr(check, "__dataclass_fields__", ())  # a setting of that name is its own
        if hasattr(check, "backend") and "backend" not in own:
            check.backend = self._backend
