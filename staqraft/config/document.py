"""A YAML file as sections that remember their lines, and the problems found in it.

Works on PyYAML's nodes, not on the values it would construct: nodes know their line, duplicate
keys are still visible, and `no` is a word as good as any other. A `Section` is read key by key;
what nobody asked for is unknown and refused when the section is left. A wrong value is noted and a
stand-in returned, so that one pass finds everything.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
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

_NULL = "tag:yaml.org,2002:null"


class Document:
    """The file's root section and everything that is wrong with it, by key and line."""

    def __init__(self, source: Path) -> None:
        """Reads `source`. ConfigError when it cannot be read or is not YAML."""
        self._source = source
        self._findings: list[tuple[int, str]] = []
        self._wrong: set[Key] = set()
        self._lines: dict[Key, int] = {}
        self._root = self._compose()

    def root(self) -> Section:
        """The whole file."""
        return Section(self, (), self._root)

    def note_line(self, key: Key, line: int) -> None:
        """Remembers where `key` stands."""
        self._lines[key] = line

    def problem(self, key: Key, text: str, *, line: int | None = None) -> None:
        """Something is wrong with `key`; `line` if it is not the key's own."""
        where = _dotted(key)
        self._wrong.add(key)
        self._findings.append((line or self.line_of(key), f"{where}: {text}" if where else text))

    def sound(self, keys: Iterable[Key]) -> bool:
        """Whether nothing was found wrong with any of `keys`, or within them, or around them."""
        return not any(
            wrong[: len(key)] == key[: len(wrong)] for key in keys for wrong in self._wrong
        )

    def located(self, key: Key, text: str) -> str:
        """`file:line: key: text`, for a finding that is not a problem."""
        return f"{self._source}:{self.line_of(key)}: {_dotted(key)}: {text}"

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
        if root is None:
            raise self._unusable(1, "is empty: begin with the commented example, staqraft.yaml")
        return root

    def _unusable(self, line: int, text: str) -> ConfigError:
        return ConfigError([f"{self._source}:{line}: the file {text}"])


class Section:
    """One mapping of the file, to be used in a `with` block that asks for every known key."""

    def __init__(self, document: Document, key: Key, node: yaml.Node | None) -> None:
        self.key = key
        self._document = document
        self._asked: dict[str, None] = {}
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
        """Notes that `name` is not there."""
        self.problem(f"is missing: {advice}", name)

    def problem(self, text: str, *within: str) -> None:
        """Notes that something is wrong with this section, or with a key in it."""
        line = self._document.line_of((*self.key, *within))
        self._document.problem((*self.key, *within), text, line=line)

    def section(self, name: str) -> Section:
        """The section `name`; an empty one when it is not there."""
        return Section(self._document, (*self.key, name), self._ask(name))

    def named(self, name: str, parse: Parse[str]) -> Iterator[tuple[str, Section]]:
        """The sections in section `name`, in the order of the file, with their names."""
        outer = self.section(name)
        for inner, node in outer.nodes.items():
            inner_name = outer.text((*outer.key, inner), inner, parse, "")
            yield inner_name or inner, Section(self._document, (*outer.key, inner), node)

    def pairs(self, name: str, key_of: Parse[str], value_of: Parse[T]) -> list[tuple[str, T]]:
        """The `key: value` pairs in section `name` that are right, in the order of the file."""
        outer = self.section(name)
        found = []
        for inner, node in outer.nodes.items():
            key = (*outer.key, inner)
            inner_name = outer.text(key, inner, key_of, "")
            value = outer.scalar(key, node, lambda text: (value_of(text),), None)
            if inner_name and value is not None:
                found.append((inner_name, value[0]))
        return found

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
            self._document.problem(key, f"is {kind}, and is to be a single value", line=line)
            return default
        if node.tag == _NULL:
            self._document.problem(key, "has no value", line=line)
            return default
        return self.text(key, node.value, parse, default)

    def text(self, key: Key, text: str, parse: Parse[T], default: T) -> T:
        """What `parse` makes of `text`; a problem and `default` if it refuses."""
        try:
            return parse(text)
        except ValueError as error:
            self._document.problem(key, f"{_shown(text)} {error}")
            return default

    def _fill(self, node: yaml.Node) -> None:
        if not isinstance(node, yaml.MappingNode):
            if not (isinstance(node, yaml.ScalarNode) and node.tag == _NULL):
                self.problem("is to be a section of 'name: value' lines")
            return
        for name_node, value_node in node.value:
            line = name_node.start_mark.line + 1
            if not isinstance(name_node, yaml.ScalarNode):
                self._document.problem(self.key, "a name is to be a single word", line=line)
                continue
            name = name_node.value
            key = (*self.key, name)
            if name in self.nodes:
                first = self._document.line_of(key)
                self._document.problem(
                    self.key, f"{_shown(name)} stands twice, first on line {first}", line=line
                )
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


def _dotted(key: Key) -> str:
    """`key` as people write it, with nothing in it that breaks a line of the log."""
    return ".".join(
        name if name.isprintable() and len(name) <= SHOWN else _shown(name) for name in key
    )


def _shown(text: str) -> str:
    short = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    return repr(short)
