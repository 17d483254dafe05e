"""What is shipped beside the code says what the code needs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

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
    assert service["RestartPreventExitStatus"] == ["2 12"]


def test_the_unit_keeps_what_capture_and_addresses_need() -> None:
    service = unit("staqraftd.service")
    kept = " ".join(service["CapabilityBoundingSet"]).split()
    assert {"CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH", "CAP_NET_ADMIN", "CAP_NET_RAW"} <= set(kept)
    assert {"AF_NETLINK", "AF_PACKET"} <= set(service["RestrictAddressFamilies"][0].split())
    assert not {"RestrictSUIDSGID", "ProtectSystem", "PrivateTmp", "ProtectHome"} & set(service)


def test_a_managed_service_outlives_a_restart_of_the_daemon() -> None:
    assert unit("staqraftd.service")["KillMode"] == ["process"]


def test_the_raft_library_is_pinned_everywhere() -> None:
    assert "pysyncobj==0.3.17" in project()["dependencies"]
    assert "pysyncobj==0.3.17" in (REPOSITORY / "requirements.lock").read_text().splitlines()


def pins(lock: str) -> set[str]:
    """The names of what a lock pins."""
    lines = (REPOSITORY / lock).read_text().splitlines()
    return {plain(line.split("==")[0]) for line in lines if not line.startswith("#")}


def needed(wishes: Iterable[str], extras: tuple[str, ...] = ("",)) -> set[str]:
    """The distributions that `wishes` name, and all that these need in turn, as installed here."""
    found: set[str] = set()
    for wish in map(Requirement, wishes):
        name = plain(wish.name)
        if any(wish.marker is None or wish.marker.evaluate({"extra": e}) for e in extras):
            found |= {name} if name in found else {name, *needed(requires(name) or ())}
    return found


def project() -> dict[str, Any]:
    """The [project] table of pyproject.toml."""
    content: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return content


def test_the_lock_is_what_the_programs_need_and_nothing_more() -> None:
    assert pins("requirements.lock") == needed(project()["dependencies"])


def test_the_other_lock_adds_what_development_needs() -> None:
    tools = pins("requirements-dev.lock")
    assert needed(project()["optional-dependencies"]["dev"]) <= pins("requirements.lock") | tools
    assert not pins("requirements.lock") & tools
    assert "setuptools" in tools  # scripts/bootstrap builds without isolation


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_names_versions_and_nothing_else(lock: str) -> None:
    for line in (REPOSITORY / lock).read_text().splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", line), line


def test_both_locks_make_the_checkouts_venv_and_one_a_production_host() -> None:
    assert (
        "-r requirements.lock -r requirements-dev.lock"
        in (REPOSITORY / "scripts/bootstrap").read_text()
    )
    readme = (REPOSITORY / "README.md").read_text()
    assert "pip install -r requirements.lock ." in readme
    assert "requirements-dev.lock" not in readme


def test_the_change_log_knows_this_version() -> None:
    log = (REPOSITORY / "CHANGELOG.md").read_text()
    assert f"## [{staqraft.__version__}]" in log or "## [Unreleased]" in log


def plain(name: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_shared_witness_is_restarted_reloaded_and_confined() -> None:
    service = unit("staqraft-witness.service")
    assert service["ExecStart"] == ["/opt/staqraft/bin/staqraftd --clusters /etc/staqraft/clusters"]
    assert service["ExecReload"] == ["kill -HUP $MAINPID"]
    assert service["RestartPreventExitStatus"] == ["2"]
    assert service["CapabilityBoundingSet"] == [""]
    assert service["ProtectSystem"] == ["strict"]
