"""A YAML file as sections that remember their lines, and the problems found in it.

Works on PyYAML's nodes, not on the values it would construct: nodes know their line, duplicate
keys are still visible, and `no` is a word as good as any other. A `Section` is read key by key;
what nobody asked for is unknown and refused when the section is left. A wrong value is noted and a
stand-in returned, so that one pass finds everything. The document remembers which keys have
stand-ins (`trusted`): what is said of a value in relation to others is only said if all are real.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import yaml

from staqraft.errors import ConfigError

MAX_FILE_BYTES = 256 << 10
SHOWN = 60

T = TypeVar("T")
Key = tuple[str, ...]
Parse = Callable[[str], T]

NAMES = "*"  # below a section's key: which names stand in it, apart from what they hold

_NULL = "tag:yaml.org,2002:null"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something about `key`, which follows from what is at `key` and at `reads`.

    Only a warning if not `fatal`. A finding that `passes` is true of this moment only (a date, a
    clock): it is no reason not to start.
    """

    key: Key
    text: str
    reads: tuple[Key, ...] = ()
    fatal: bool = True
    passes: bool = False


def own_role(node: str) -> tuple[Key, ...]:
    """The keys that say what this host, `node`, is."""
    return (("node",), ("nodes", node, "role"))


class Document:
    """The file's root section and everything that is wrong with it, by key and line."""

    def __init__(self, source: Path) -> None:
        """Reads `source`. ConfigError when it cannot be read or is not YAML."""
        self._source = source
        self._findings: list[tuple[int, str]] = []
        self._stand_ins: set[Key] = set()
        self._lines: dict[Key, int] = {}
        self._root = self._compose()

    def root(self) -> Section:
        """The whole file."""
        return Section(self, (), self._root)

    def note_line(self, key: Key, line: int) -> None:
        """Remembers where `key` stands."""
        self._lines[key] = line

    def problem(self, key: Key, text: str, *, line: int | None = None) -> None:
        """Something is to be said of `key`; `line` if it is not the key's own."""
        self._findings.append((line or self.line_of(key), _sentence(key, text)))

    def wrong(self, key: Key, text: str, *, line: int | None = None) -> None:
        """What stands at `key` cannot be used: a problem, and a stand-in from now on."""
        self.problem(key, text, line=line)
        self.distrust(key)

    def distrust(self, key: Key) -> None:
        """What is known of `key`, and of all within, is a stand-in or may not be what was meant."""
        self._stand_ins.add(key)

    def trusted(self, key: Key) -> bool:
        """Whether the file, or a default that it leaves in force, says what is at `key`."""
        return not any(key[:length] in self._stand_ins for length in range(len(key) + 1))

    def trusted_within(self, key: Key) -> bool:
        """Whether that is so of `key` and of everything in it."""
        return self.trusted(key) and not any(
            stand_in[: len(key)] == key for stand_in in self._stand_ins
        )

    def located(self, key: Key, text: str) -> str:
        """`file:line: key: text`, for a finding that is not a problem."""
        return f"{self._source}:{self.line_of(key)}: {_sentence(key, text)}"

    def problems(self) -> list[str]:
        """Everything found, as `file:line: text`, in the order of the file."""
        return [f"{self._source}:{line}: {text}" for line, text in sorted(self._findings)]

    def line_of(self, key: Key) -> int:
        """The line of `key`, or of the nearest section around it that is in the file."""
        while key and key not in self._lines:
            key = key[:-1]
        return self._lines.get(key, 1)

    def _compose(self) -> yaml.Node:
        try:
            with self._source.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise self._unusable(1, f"cannot be read: {error.strerror}") from error
        except ValueError as error:  # a NUL in the path
            raise self._unusable(1, f"cannot be read: {error}") from error
        if len(data) > MAX_FILE_BYTES:
            raise self._unusable(1, f"is larger than {MAX_FILE_BYTES} bytes: not a configuration")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise self._unusable(line, "is not UTF-8 text") from error
        try:
            # The pure Python loader: deep nesting ends as RecursionError, not on the C stack.
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise self._unusable(
                mark.line + 1 if mark else 1, f"is not YAML: {error.problem or error.context}"
            ) from error
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise self._unusable(line, f"is not YAML: {error.reason}") from error
        except (ValueError, OverflowError) as error:  # the scanner, on "\UFFFFFFFF"
            raise self._unusable(1, f"is not YAML: {error}") from error
        except RecursionError as error:
            raise self._unusable(1, "is nested too deeply") from error
        if root is None or root.tag == _NULL:
            raise self._unusable(1, "is empty: begin with the commented example, staqraft.yaml")
        if not isinstance(root, yaml.MappingNode):
            kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
            raise self._unusable(
                root.start_mark.line + 1, f"is {kind}, and is to be 'name: value' lines"
            )
        return root

    def _unusable(self, line: int, text: str) -> ConfigError:
        return ConfigError([f"{self._source}:{line}: the file {text}"])


class Section:
    """One mapping of the file, to be used in a `with` block that asks for every known key."""

    def __init__(self, document: Document, key: Key, node: yaml.Node | None) -> None:
        self.key = key
        self._document = document
        self._asked: dict[str, None] = {}
        self._usable = True
        self.nodes: dict[str, yaml.Node] = {}
        if node is not None:
            self._document.note_line(key, node.start_mark.line + 1)
            self._fill(node)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._refuse_unknown()

    def __contains__(self, name: str) -> bool:
        return name in self.nodes

    def read(self, name: str, parse: Parse[T], default: T) -> T:
        """The value of `name` if it is there and right, else `default`."""
        node = self._ask(name)
        return default if node is None else self.scalar((*self.key, name), node, parse, default)

    def require(self, name: str, parse: Parse[T], stand_in: T, advice: str) -> T:
        """The value of `name`; a problem and `stand_in` when it is missing or wrong."""
        node = self._ask(name)
        if node is None:
            self.missing(name, advice)
            return stand_in
        return self.scalar((*self.key, name), node, parse, stand_in)

    def missing(self, name: str, advice: str) -> None:
        """Notes that `name` is not there, unless a problem was noted that explains it."""
        if self._usable and self._document.trusted_within((*self.key, name)):
            self.problem(f"is missing: {advice}", name)

    def problem(self, text: str, *within: str) -> None:
        """Notes that something is wrong with this section, or with a key in it."""
        line = self._document.line_of((*self.key, *within))
        self._document.wrong((*self.key, *within), text, line=line)

    def skip(self, name: str) -> None:
        """`name` is known here, and is not read."""
        self._ask(name)

    def section(self, name: str) -> Section:
        """The section `name`; an empty one when it is not there."""
        return Section(self._document, (*self.key, name), self._ask(name))

    def named(self, name: str, parse: Parse[str]) -> Iterator[tuple[str, Section]]:
        """The sections in section `name`, in the order of the file, with their names."""
        outer = self.section(name)
        for inner, node in outer.nodes.items():
            outer.check_name(inner, parse)
            yield inner, Section(self._document, (*outer.key, inner), node)

    def pairs(
        self, name: str, key_of: Parse[str], value_of: Parse[T], stand_in: T
    ) -> list[tuple[str, T]]:
        """The `key: value` pairs in section `name`, in the order of the file."""
        outer = self.section(name)
        found = []
        for inner, node in outer.nodes.items():
            outer.check_name(inner, key_of)
            found.append((inner, outer.scalar((*outer.key, inner), node, value_of, stand_in)))
        return found

    def check_name(self, name: str, parse: Parse[str]) -> None:
        """Notes a name that `parse` refuses; what stands under it can be read all the same."""
        try:
            parse(name)
        except ValueError as error:
            self._document.problem((*self.key, name), f"{_shown(name)} {error}")
            self._document.distrust((*self.key, NAMES))

    def listed(self, name: str) -> Iterator[Section]:
        """The sections in the list `name`."""
        for index, node in enumerate(self._sequence(name)):
            yield Section(self._document, (*self.key, name, str(index + 1)), node)

    def values(self, name: str, parse: Parse[T], default: tuple[T, ...] = ()) -> tuple[T, ...]:
        """The values in the list `name` that are right; `default` when it is not there."""
        if name not in self:
            self._ask(name)
            return default
        found = []
        for index, node in enumerate(self._sequence(name)):
            key = (*self.key, name, str(index + 1))
            value = self.scalar(key, node, lambda text: (parse(text),), None)
            if value is not None:
                found.append(value[0])
        return tuple(found)

    def _ask(self, name: str) -> yaml.Node | None:
        self._asked[name] = None
        return self.nodes.get(name)

    def _sequence(self, name: str) -> list[yaml.Node]:
        node = self._ask(name)
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.problem("is to be a list, in [brackets] or with a '- ' before each item", name)
            return []
        return list(node.value)

    def scalar(self, key: Key, node: yaml.Node, parse: Parse[T], default: T) -> T:
        """The value of `node` at `key`; a problem and `default` if it is wrong or not single."""
        line = node.start_mark.line + 1
        self._document.note_line(key, line)
        if not isinstance(node, yaml.ScalarNode):
            kind = "a list" if isinstance(node, yaml.SequenceNode) else "a section"
            self._document.wrong(key, f"is {kind}, and is to be a single value", line=line)
            return default
        if node.tag == _NULL:
            self._document.wrong(key, "has no value", line=line)
            return default
        try:
            return parse(node.value)
        except ValueError as error:
            self._document.wrong(key, f"{_shown(node.value)} {error}")
            return default

    def _fill(self, node: yaml.Node) -> None:
        if not isinstance(node, yaml.MappingNode):
            if not (isinstance(node, yaml.ScalarNode) and node.tag == _NULL):
                self.problem("is to be a section of 'name: value' lines")
                self._usable = False
            return
        for name_node, value_node in node.value:
            line = name_node.start_mark.line + 1
            if not isinstance(name_node, yaml.ScalarNode):
                self._document.problem(self.key, "a name is to be a single word", line=line)
                self._document.distrust((*self.key, NAMES))
                continue
            name = name_node.value
            key = (*self.key, name)
            if name in self.nodes:
                first = self._document.line_of(key)
                self._document.problem(
                    self.key, f"{_shown(name)} stands twice, first on line {first}", line=line
                )
                self._document.distrust(key)  # which of the two is meant?
                continue
            self.nodes[name] = value_node
            self._document.note_line(key, line)

    def _refuse_unknown(self) -> None:
        for name in self.nodes:
            if name in self._asked:
                continue
            near = difflib.get_close_matches(name[:SHOWN], self._asked, n=1, cutoff=0.5)
            advice = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(self._asked)}"
            self._document.problem((*self.key, name), f"is not a known name: {advice}")
            if near and near[0] not in self.nodes:
                self._document.distrust((*self.key, near[0]))  # its default is not what is meant


def _sentence(key: Key, text: str) -> str:
    """`key: text` with nothing in it that breaks a line of the log."""
    where = _dotted(key)
    sentence = f"{where}: {text}" if where else text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in sentence)


def _dotted(key: Key) -> str:
    """`key` as people write it."""
    return ".".join(
        name if name.isprintable() and len(name) <= SHOWN else _shown(name) for name in key
    )


def _shown(text: str) -> str:
    short = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    return repr(short)
