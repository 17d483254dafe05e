"""What is shipped beside the code says what the code needs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import staqraft

REPOSITORY = Path(__file__).parents[2]


def unit(name: str) -> dict[str, list[str]]:
    """The settings of a systemd unit; systemd allows a name more than once."""
    settings: dict[str, list[str]] = {}
    for line in (REPOSITORY / "deploy" / name).read_text().splitlines():
        if match := re.fullmatch(r"([A-Za-z]+)=(.*)", line):
            settings.setdefault(match[1], []).append(match[2])
    return settings


def test_the_unit_restarts_at_once_and_for_ever_unless_the_configuration_is_wrong() -> None:
    service = unit("staqraftd.service")
    assert service["Restart"] == ["always"]
    assert service["RestartSec"] == ["100ms"]
    assert service["StartLimitIntervalSec"] == ["0"]
    assert service["RestartPreventExitStatus"] == ["2"]


def test_the_unit_keeps_what_capture_and_addresses_need() -> None:
    service = unit("staqraftd.service")
    kept = " ".join(service["CapabilityBoundingSet"]).split()
    assert {"CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH", "CAP_NET_ADMIN", "CAP_NET_RAW"} <= set(kept)
    assert {"AF_NETLINK", "AF_PACKET"} <= set(service["RestrictAddressFamilies"][0].split())
    assert not {"RestrictSUIDSGID", "ProtectSystem", "PrivateTmp", "ProtectHome"} & set(service)


def test_a_managed_service_outlives_a_restart_of_the_daemon() -> None:
    assert unit("staqraftd.service")["KillMode"] == ["process"]


def test_the_raft_library_is_pinned_everywhere() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert "pysyncobj==0.3.17" in project["dependencies"]
    assert "pysyncobj==0.3.17" in (REPOSITORY / "requirements.lock").read_text().splitlines()


def test_every_dependency_is_in_the_lock() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    locked = (REPOSITORY / "requirements.lock").read_text().splitlines()
    pins = {plain(line.split("==")[0]) for line in locked if "==" in line}
    assert {plain(re.split(r"[=<>]", wish)[0]) for wish in wanted} <= pins


def test_the_lock_names_versions_and_nothing_else() -> None:
    for line in (REPOSITORY / "requirements.lock").read_text().splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", line), line


def test_the_change_log_knows_this_version() -> None:
    log = (REPOSITORY / "CHANGELOG.md").read_text()
    assert f"## [{staqraft.__version__}]" in log or "## [Unreleased]" in log


def plain(name: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
