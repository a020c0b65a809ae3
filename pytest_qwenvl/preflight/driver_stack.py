"""CANN, the driver and the firmware: read from the version files that their installers leave."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pytest_qwenvl.errors import InconclusiveError
from pytest_qwenvl.preflight.finding import Examined, Finding
from pytest_qwenvl.preflight.host import Host
from pytest_qwenvl.preflight.table import CompatibilityTable, begins_with

CANN = "QVL-ENV-004"
DRIVER = "QVL-ENV-005"

_INSTALLED = "ascend_toolkit_install.info"
_HOMES = (
    "/usr/local/Ascend/ascend-toolkit/latest",
    "/usr/local/Ascend/cann",
)
_VERSION = re.compile(r"^version=(\S+)", re.MULTILINE | re.IGNORECASE)
_CONFIGURED = re.compile(
    r"^toolkit_(?:running|installed)_version=\[(?:[^:\]]*:)?([^\]]+)\]", re.MULTILINE
)
_RANGE = re.compile(r"\[([^,\[\]]+),([^,\[\]]+)\]")


def cann_version(host: Host) -> tuple[str | None, str]:
    """CANN's version and the file it was read from; None and the places that were tried.

    The installer writes ``ascend_toolkit_install.info`` below a folder named after the
    architecture; older toolkits have a ``version.cfg`` whose entries read ``[inner:version]``.
    """
    named = [host.environment.get(it) for it in ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME")]
    homes = list(dict.fromkeys(it for it in named if it)) or list(_HOMES)
    files = dict(_toolkit_files(host, homes))
    if host.contained:
        found = host.known_interpreter()
        homes, files = [f"the image of {found.path}"], found.texts
    for file, text in files.items():
        pattern = _CONFIGURED if file.endswith(".cfg") else _VERSION
        if file.endswith((_INSTALLED, ".cfg")) and (match := pattern.search(text)):
            return match[1], file
    return None, ", ".join(homes)


def _toolkit_files(host: Host, homes: list[str]) -> Iterator[tuple[str, str]]:
    for home in homes:
        places = sorted(host.path(home).glob(f"*-linux/{_INSTALLED}"))
        for place in (*places, host.path(home) / _INSTALLED, host.path(home) / "version.cfg"):
            file = f"/{place.relative_to(host.root)}"
            yield file, host.text(file) or ""


def installed_versions(host: Host) -> dict[str, str]:
    """Versions of CANN, the driver and the firmware, as far as they can be seen."""
    found = {"CANN": cann_version(host)[0]}
    for part in ("driver", "firmware"):
        match = _VERSION.search(host.text(f"{host.driver_installation}/{part}/version.info") or "")
        found[part] = match[1] if match else None
    return {name: version for name, version in found.items() if version is not None}


def check_cann(host: Host, table: CompatibilityTable) -> Examined:
    """CANN is the one the installed vllm-ascend was released for."""
    found = host.known_interpreter()
    version, place = cann_version(host)
    ascend = found.versions.get("vllm_ascend")
    if ascend is None:
        raise InconclusiveError(f"there is no vllm-ascend in {found.path}")
    release = table.release_of(ascend)
    wanted = " or ".join(release.cann)
    if version is None:
        return Examined(
            "no CANN",
            (
                Finding(
                    CANN,
                    f"no CANN toolkit in {place}",
                    f"CANN {wanted} for vllm-ascend {ascend}",
                    "install it, or source its set_env.sh so that ASCEND_HOME_PATH names it",
                ),
            ),
        )
    seen = f"CANN {version} ({place}) for vllm-ascend {ascend}"
    if version.lower() in {it.lower() for it in release.cann}:
        return Examined(seen)
    remedy = f"install CANN {wanted}, or the vllm-ascend that was released for CANN {version}"
    return Examined(seen, (Finding(CANN, seen, f"CANN {wanted} ({release.source})", remedy),))


def check_driver(host: Host, table: CompatibilityTable) -> Examined:
    """The driver is one that CANN supports, and accepts the firmware.

    The driver says itself which firmware it accepts (``compatible_version_fw``). Inside the
    tutorial's container only the driver's version is mounted; where the firmware's cannot be seen
    nothing is said of it.
    """
    driver_file = f"{host.driver_installation}/driver/version.info"
    text = host.text(driver_file) or ""
    match = _VERSION.search(text)
    if match is None:
        # That the file is missing is a finding of the files a driver leaves.
        raise InconclusiveError(f"{driver_file} does not say what driver this is")
    driver = match[1]
    problems = []
    cann, _ = cann_version(host)
    if cann is None:
        raise InconclusiveError(f"driver {driver}, but there is no CANN to hold it against")
    row = table.drivers_of(cann)
    if not any(begins_with(driver, it) for it in row.drivers):
        problems.append(
            Finding(
                DRIVER,
                f"driver {driver} ({driver_file}) under CANN {cann}",
                f"a driver of {', '.join(row.drivers)} ({row.source})",
                "install one of these on the host, not in the container",
            )
        )
    firmware_file = f"{host.driver_installation}/firmware/version.info"
    firmware = _VERSION.search(host.text(firmware_file) or "")
    if firmware is None:
        return Examined(f"driver {driver} for CANN {cann}; firmware not visible", tuple(problems))
    accepted = re.search(r"^compatible_version_fw=(.*)", text, re.MULTILINE)
    ranges = _RANGE.findall(accepted[1]) if accepted else []
    if ranges and not any(_between(firmware[1], *bounds) for bounds in ranges):
        problems.append(
            Finding(
                DRIVER,
                f"firmware {firmware[1]} ({firmware_file}) under driver {driver}",
                "firmware " + " or ".join(f"{low} to {high}" for low, high in ranges)
                + f" (compatible_version_fw in {driver_file})",
                "install the firmware of the driver's own release on the host",
            )
        )  # fmt: skip
    return Examined(f"driver {driver} for CANN {cann}; firmware {firmware[1]}", tuple(problems))


def _between(version: str, low: str, high: str) -> bool:
    """Whether a firmware lies between two; as many parts count as a bound has."""
    parts = _numbers(version)
    return parts >= _numbers(low) and parts[: len(_numbers(high))] <= _numbers(high)


def _numbers(version: str) -> list[int]:
    return [int(it) for it in re.findall(r"\d+", version)]
