"""deploy/staqraft.yaml shows every option that there is: the loader itself says which it knows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from fakes.pki import cluster_pki
from staqraft.config.loader import check

EXAMPLE: Final = Path(__file__).parents[2] / "deploy/staqraft.yaml"
SETTING: Final = re.compile(r"( *)# ( *(?:- )?[a-z0-9_]+:(?: .*)?|  - .*)")
UNKNOWN: Final = "zzzzzzzz"  # like no option, so that all are listed
KNOWN: Final = re.compile(rf"[^:]+:\d+: (.*?)\.?{UNKNOWN}: is not a known name: known are (.*)")
BY_NAME: Final = frozenset({"nodes", "groups", "trees", "services", "fencing", "devices", "notify"})
FREE: Final = frozenset({"rings", "options"})  # pairs with names of the administrator's

Key = tuple[str, ...]


def uncommented() -> dict[str, Any]:
    """The example with every setting in it."""
    lines = []
    for line in EXAMPLE.read_text().splitlines():
        found = SETTING.fullmatch(line)
        lines.append(f"{found[1]}{found[2]}" if found else line)
    content: dict[str, Any] = yaml.safe_load("\n".join(lines))
    return content


def place(key: Key) -> Key:
    """`key` with stars for what an administrator named, and for the place in a list."""
    return tuple(
        "*" if part.isdigit() or (before in BY_NAME and outer not in BY_NAME) else part
        for part, before, outer in zip(key, ("", *key), ("", "", *key), strict=False)
    )


def sections(value: Any, key: Key = ()) -> Iterator[tuple[Key, dict[str, Any]]]:
    """Every mapping in the file."""
    if isinstance(value, dict):
        yield key, value
        for name, inner in value.items():
            yield from sections(inner, (*key, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from sections(inner, (*key, str(index + 1)))


def known_options(tmp_path: Path) -> dict[Key, set[str]]:
    """By section, the options that the loader knows there: it lists them when it refuses one."""
    content = uncommented()
    content["lease"]["ttl"] = "6s"  # as the example says at 'watchdog'
    for key, section in list(sections(content)):
        if not FREE.intersection(key[-1:]) and not BY_NAME.intersection(place(key)[-1:]):
            section[UNKNOWN] = 1
    text = json.dumps(content, indent=1)
    path = tmp_path / "staqraft.yaml"
    path.write_text(text.replace("/etc/staqraft/tls", str(cluster_pki("example").directory)))
    known: dict[Key, set[str]] = {}
    for problem in check(path)[1]:
        found = KNOWN.fullmatch(problem)
        assert found, f"what stands in the example is wrong: {problem}"
        key = place(tuple(found[1].split("."))) if found[1] else ()
        known.setdefault(key, set()).update(found[2].split(", "))
    return known


def test_the_example_shows_every_option_of_every_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda program: program)  # this host serves nobody
    shown: dict[Key, set[str]] = {}
    for key, section in sections(uncommented()):
        shown.setdefault(place(key), set()).update(section)
    known = known_options(tmp_path)
    missing = {".".join((*key, name)) for key in known for name in known[key] - shown[key]}
    assert missing == set()
    options = {".".join((*key, name)) for key in known for name in known[key]}
    # From the bottom of the file to its top: no section was passed over.
    assert {"lease.gate", "groups.*.trees.*.removals.within", "notify.*.email.to"} <= options
    assert {"groups.*.services.*.checks.*.over_tcp", "fencing.*.devices.*.plug"} <= options
