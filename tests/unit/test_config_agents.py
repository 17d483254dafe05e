"""What fence agents say of themselves, and what follows for the options of a device."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.configs import write_config
from staqraft.config.agents import BadAgent, Metadata, Parameter, objections
from staqraft.config.loader import check

AGENT = Metadata(
    parameters={
        "action": Parameter(required=True),
        "plug": Parameter(required=True),
        "ip": Parameter(required=True),
        "ipaddr": Parameter(deprecated=True, instead="ip"),
        "username": Parameter(),
        "password": Parameter(),
    },
    actions=frozenset({"on", "off", "status", "monitor", "metadata"}),
)

FENCING = """\
fencing:
  b:
    devices:
      ipmi:
        agent: fence_ipmilan
        options: {ip: 10.9.0.1, passwort: geheim}
"""


def said(*options: str) -> list[str]:
    pairs = [(name, "x") for name in options]
    return [f"{one.option}: {one.text}" for one in objections(pairs, AGENT)]


def test_right_options_are_right() -> None:
    assert said("ip", "username", "password") == []


def test_an_option_that_the_agent_does_not_know_is_named_with_what_may_be_meant() -> None:
    assert said("ip", "pasword") == [
        "pasword: the agent knows no option 'pasword', is 'password' meant?"
    ]


def test_an_option_that_the_agent_needs_is_missed() -> None:
    assert said("username") == [": the agent needs the option 'ip'"]


def test_a_deprecated_name_does_and_its_successor_is_named() -> None:
    (one,) = objections([("ipaddr", "10.9.0.1")], AGENT)
    assert not one.fatal
    assert one.text == "is deprecated: write 'ip'"


def test_an_agent_that_cannot_say_how_a_node_is_proves_nothing() -> None:
    deaf = Metadata(parameters={}, actions=frozenset({"off", "on"}))
    assert [one.text for one in objections([], deaf)] == [
        "the agent has no action 'status': nothing would prove that the node is off"
    ]


class TestWhenTheConfigurationIsChecked:
    def test_a_wrong_option_is_an_error_at_its_line(self, tmp_path: Path) -> None:
        path = write_config(tmp_path, {"groups:": FENCING + "groups:"})
        code, lines = check(path, ask_agent=lambda _: AGENT)
        assert code == 2
        line = (
            path.read_text().splitlines().index("        options: {ip: 10.9.0.1, passwort: geheim}")
        )
        assert any(
            text.startswith(f"{path}:{line + 1}: ")
            and "the agent knows no option 'passwort', is 'password' meant?" in text
            for text in lines
        ), lines
        assert "geheim" not in "".join(lines)

    def test_an_agent_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        def ask(_: Path) -> Metadata:
            raise BadAgent("it cannot be executed: No such file or directory")

        path = write_config(tmp_path, {"groups:": FENCING + "groups:"})
        code, lines = check(path, ask_agent=ask)
        assert code == 2
        assert any("it cannot be executed: No such file" in text for text in lines)

    def test_a_witness_needs_no_agents(self, tmp_path: Path) -> None:
        def ask(_: Path) -> Metadata:
            raise AssertionError("nobody is to ask")

        changes = {"groups:": FENCING + "groups:", "node: a": "node: w"}
        _, lines = check(write_config(tmp_path, changes), ask_agent=ask)
        assert not any("fence_ipmilan" in line for line in lines)

    @pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o600, False)])
    def test_secrets_are_for_root(self, tmp_path: Path, mode: int, warned: bool) -> None:
        fencing = FENCING.replace("passwort", "password")
        path = write_config(tmp_path, {"groups:": fencing + "groups:"})
        path.chmod(mode)
        code, lines = check(path, ask_agent=lambda _: AGENT)
        assert code == 0, lines
        assert any("others than root may read this file" in text for text in lines) == warned
