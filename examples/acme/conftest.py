"""What ACME adds to a run: facts of its hosts, a setting, a check, a field and a launcher."""

from __future__ import annotations

import os
from dataclasses import replace

from pytest_qwenvl.added_settings import EngineSettings
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.preflight.checks import Check
from pytest_qwenvl.preflight.finding import Examined, Finding


def pytest_qwenvl_environment():
    """The rack stands in the report's host."""
    return {"acme_rack": os.environ.get("ACME_RACK", "unknown")}


def pytest_qwenvl_engine_settings(deployment):
    """Our driver reads this variable; an offline LLM does not need it."""
    if deployment.mode == "offline":
        return None
    return EngineSettings(environment={"ACME_DRIVER_MODE": "serving"})


def pytest_qwenvl_report_fields(run):
    """What our tracker looks for."""
    return {"ticket": os.environ.get("ACME_TICKET", "none"), "results": len(run.results)}


def check_rack(host, table):
    """A check takes the host and the compatibility table, and starts nothing."""
    rack = host.environment.get("ACME_RACK", "")
    if rack:
        return Examined(f"rack {rack}")
    wrong = Finding(
        requirement="ACME-ENV-001",
        seen="no ACME_RACK in the environment",
        expected="the name of the rack, as our acceptance plan says",
        remedy="set ACME_RACK in the host's profile",
    )
    return Examined("the environment", (wrong,))


def pytest_qwenvl_preflight_checks():
    """Checks by the requirement that each decides."""
    return {"ACME-ENV-001": Check("name of the rack", check_rack)}


class Niced:
    """Runs engines with a lower priority, for hosts that others use too."""

    def __init__(self, context):
        self.context = context

    def check(self):
        """Before anything is started."""
        if not os.access("/usr/bin/nice", os.X_OK):
            raise UsageProblem("there is no /usr/bin/nice here; use --launcher=local")

    def contain(self, kind, planned, lease):
        """The command with another in front of it; nice becomes the engine itself."""
        return lambda launch: replace(launch, argv=("/usr/bin/nice", "-n5", *launch.argv))


def pytest_qwenvl_launchers():
    """``--launcher=niced``."""
    return {"niced": Niced}
