"""What is known of ClusterLabs fence agents without running one: their options and secrets.

The interface is fence-agents' FenceAgentAPI.md: options on stdin as name=value lines, and
`action=metadata`, which prints what the agent takes as XML.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from shlex import quote
from urllib.parse import quote as url_quote
from xml.parsers import expat

HIDDEN = "***"

# A password, a community or a key is whatever its name says it is; a path to a key file is hidden
# with it, which is no loss.
_SECRET_WORDS = ("pass", "secret", "token", "key", "community", "credential", "auth", "cookie")


def is_secret(option: str) -> bool:
    """Whether the value of this option is to be shown to nobody."""
    return any(word in option.lower() for word in _SECRET_WORDS)


def redacted(options: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The options with their secrets hidden."""
    return [(name, HIDDEN if is_secret(name) else value) for name, value in options]


def hide_secrets(text: str, options: Iterable[tuple[str, str]]) -> str:
    """`text` (what an agent said) without the secrets among its options, however quoted."""
    hidden = {value for name, value in options if value and is_secret(name)}
    # Agents quote: for a shell, for Python, in an address.
    secrets = hidden | {make(value) for value in hidden for make in (quote, _escaped, url_quote)}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _escaped(value: str) -> str:
    return repr(value)[1:-1]


# --- metadata -------------------------------------------------------------------------------------

AGENT_OUTPUT_MOST = 256 << 10  # the largest of the 84 agents in Debian prints 11 KiB
_ELEMENTS_MOST = 5000
_DEPTH_MOST = 16


class BadAgent(ValueError):
    """What should be an agent's metadata is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """An option of an agent. `instead` is what to write when it is deprecated."""

    required: bool = False
    deprecated: bool = False
    instead: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What an agent takes and does."""

    parameters: dict[str, Parameter]
    actions: frozenset[str]


def parse(printed: bytes) -> Metadata:
    """The answer to `action=metadata`. BadAgent for anything else, however it is made."""
    if len(printed) >= AGENT_OUTPUT_MOST:
        raise BadAgent(f"it printed {AGENT_OUTPUT_MOST} bytes or more")
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.EntityDeclHandler = reader.entity
    try:
        parser.Parse(printed, True)
    except expat.ExpatError as error:
        raise BadAgent(f"it is not XML ({error})") from error
    if not reader.found:
        raise BadAgent("it is XML, but no <resource-agent>")
    return reader.metadata()


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """What an agent would say to an option; `option` is empty when one is missing."""

    option: str
    text: str
    fatal: bool = True


_GIVEN = frozenset({"action", "plug", "port", "nodename"})  # StaqRaft sends these by itself


def objections(options: Iterable[tuple[str, str]], agent: Metadata) -> Iterator[Objection]:
    """What is wrong with the options of a device by its agent's own word."""
    given = {name for name, _ in options}
    for name in sorted(given):
        known = agent.parameters.get(name)
        if known is None:
            near = get_close_matches(name, agent.parameters, n=1)
            hint = f", is '{near[0]}' meant?" if near else ""
            yield Objection(option=name, text=f"the agent knows no option '{name}'{hint}")
        elif known.deprecated:
            text = f"is deprecated: write '{known.instead}'" if known.instead else "is deprecated"
            yield Objection(option=name, text=text, fatal=False)
    meant = given | {agent.parameters[n].instead for n in given if n in agent.parameters}
    for name, parameter in sorted(agent.parameters.items()):
        if parameter.required and not parameter.deprecated and name not in meant | _GIVEN:
            yield Objection(option="", text=f"the agent needs the option '{name}'")
    for action in sorted({"off", "on", "status"} - agent.actions):
        proof = "nothing would prove that the node is off" if action == "status" else ""
        text = f"the agent has no action '{action}'{proof and ': '}{proof}"
        yield Objection(option="", text=text, fatal=action != "on")


class _Reader:
    """Collects from the stream of elements; entities are refused, so nothing can expand."""

    def __init__(self) -> None:
        self.found = False
        self._parameters: dict[str, dict[str, str]] = {}
        self._actions: set[str] = set()
        self._depth = 0
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._count += 1
        if self._depth > _DEPTH_MOST or self._count > _ELEMENTS_MOST:
            raise BadAgent("it has more elements than any agent")
        if self._depth == 1:
            self.found = name == "resource-agent"
        elif name == "parameter" and "name" in attributes:
            self._parameters[attributes["name"]] = attributes
        elif name == "action" and "name" in attributes:
            self._actions.add(attributes["name"])

    def end(self, _name: str) -> None:
        self._depth -= 1

    def entity(self, *_: object) -> None:
        raise BadAgent("it declares entities")

    def metadata(self) -> Metadata:
        instead = {a["obsoletes"]: n for n, a in self._parameters.items() if "obsoletes" in a}
        return Metadata(
            parameters={
                name: Parameter(
                    required=attributes.get("required") == "1",
                    deprecated=attributes.get("deprecated") == "1",
                    instead=instead.get(name, ""),
                )
                for name, attributes in self._parameters.items()
            },
            actions=frozenset(self._actions),
        )
