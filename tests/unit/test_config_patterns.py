"""Patterns of paths: what gitignore(5) says, which git itself confirms."""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from staqraft.capture.exclude import Excludes
from staqraft.config.patterns import Patterns, parse, parse_included
from staqraft.config.profiles import PROFILES
from staqraft.config.schema import Tree


@pytest.mark.parametrize(
    ("patterns", "path", "is_in"),
    [
        (["*.log"], "a/b/x.log", True),
        (["*.log"], "a/b/x.log.1", False),
        (["cache"], "a/cache", True),
        (["/cache"], "a/cache", False),
        (["/cache"], "cache", True),
        (["cache/"], "a/cache", False),  # only directories
        (["cache/"], "a/cache/", True),
        (["a/*"], "a/b", True),
        (["a/*"], "a/b/c", False),  # it is left out with a/b
        (["a/*"], "x/a/b", False),
        (["a/**"], "a/b/c", True),
        (["a/**"], "a", False),
        (["**/b/c"], "b/c", True),
        (["**/b/c"], "a/a/b/c", True),
        (["a/**/c"], "a/c", True),
        (["a/**/c"], "a/x/y/c", True),
        (["[a-c]?.txt"], "bz.txt", True),
        (["[!a-c]*"], "b", False),
        (["[]x]"], "]", True),
        (["\\!bang", "\\#hash"], "!bang", True),
        (["\\[a]"], "[a]", True),
        (["*", "!*.php"], "x.php", False),
        (["*", "!*.php", "evil.php"], "evil.php", True),
        (["ü*"], "über", True),
        (["a[^b]c"], "a/c", False),
        (["[--0]"], "-", True),
        (["x[a&&b|]"], "x&", True),
    ],
)  # fmt: skip
def test_a_pattern_matches(patterns: list[str], path: str, is_in: bool) -> None:
    compiled = Patterns([parse(text) for text in patterns])
    asked = path.removesuffix("/").encode()
    assert compiled.match(asked, is_directory=path.endswith("/")) == is_in


def test_what_no_path_is_called_can_be_matched_in_bytes() -> None:
    assert Patterns(["*.tmp"]).match(b"caf\xe9\n.tmp", is_directory=False)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "matches nothing"),
        ("/", "matches nothing"),
        ("!", "matches nothing"),
        ("a//b", "two slashes"),
        ("../up", "'.' or '..'"),
        ("./here", "'.' or '..'"),
        ("[a", "without its ']'"),
        ("[z-a]", "runs backwards"),
        ("[ü]", "several bytes"),
        ("a\\", "backslash"),
        (" a", "space"),
        ("a\nb", "control characters"),
    ],
)
def test_a_pattern_that_can_match_nothing_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("[", r"\[").replace(".", r"\.")):
        parse(text)


def test_an_include_needs_no_mark() -> None:
    with pytest.raises(ValueError, match="means without saying so"):
        parse_included("!a")


def test_git_agrees(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("there is no git to ask")
    dice = random.Random(5)
    names = ("a", "b", "ab", "a.b", "b-c")
    paths = ["/".join(p) for n in (1, 2, 3) for p in itertools.product(names, repeat=n)]
    pieces = ("a", "b", "*", "?", "**", "[ab]", "[!a]", "a*", "*.b", "b-[a-c]", "ab", "\\a")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    for _ in range(25):
        patterns = []
        for _ in range(dice.randrange(1, 5)):
            body = "/".join(dice.choices(pieces, k=dice.randrange(1, 4)))
            patterns.append(
                dice.choice(("", "", "!")) + dice.choice(("", "/")) + body + dice.choice(("", "/"))
            )
        (tmp_path / ".gitignore").write_text("\n".join(patterns) + "\n")
        asked = "\0".join(paths)
        argv = ["git", "-C", str(tmp_path), "check-ignore", "--no-index", "-z", "--stdin"]
        done = subprocess.run(argv, check=False, input=asked, capture_output=True, text=True)
        theirs = set(filter(None, done.stdout.split("\0")))
        excludes = Excludes(Tree(name="t", path=tmp_path, exclude=tuple(patterns)))
        ours = {p for p in paths if excludes.excludes_below(p.encode(), is_directory=False)}
        assert ours == theirs, patterns


def test_include_brings_back_what_the_profile_leaves_out() -> None:
    tree = Tree(
        name="t", path=Path("/t"), profile="web", exclude=("*.pdf",), include=("*.pid", "a.pdf")
    )
    excludes = Excludes(tree)
    assert not excludes.excludes(b"x/my.pid", is_directory=False)
    assert not excludes.excludes(b"x/a.pdf", is_directory=False)
    assert excludes.excludes(b"x/b.pdf", is_directory=False)
    assert excludes.excludes(b"x/run.sock", is_directory=False)


@pytest.mark.parametrize(
    ("profile", "out", "kept"),
    [
        ("plain", (), ("x.lock", "x.pid", "tmp/x", "dovecot.index")),
        ("web", ("logs/php.pid", "run/php.sock", ".nfs0001", "a/.index.php.swp"),
         ("index.php", "tmp/sess_12", "lost+found.html", "a/lost+found")),
        ("maildir",
         ("joe/tmp/1.M2P3.host", "joe/dovecot.index.cache", "joe/.Sent/dovecot.index.log",
          "joe/dovecot-uidlist.lock"),
         ("joe/new/1.M2P3.host", "joe/cur/1.host.lock:2,S", "joe/dovecot-uidlist",
          "joe/dovecot-keywords", "joe/subscriptions", "joe/maildirsize", "joe/tmp/")),
        ("mbox", ("joe.lock", ".imap/INBOX/dovecot.index"), ("joe", "Mail/Sent", "block")),
        ("postfix-queue", ("private/smtp", "public/pickup", "pid/master.pid", "etc/resolv.conf"),
         ("deferred/A/ABC123", "incoming/ABC", "hold/X", "active/private")),
        ("bind", ("named.pid", "session.key", "tmp-x1Y2z3A4b5"),
         ("db.example.org", "db.example.org.jnl", "managed-keys.bind", "tmp-zone")),
    ],
)  # fmt: skip
def test_a_profile_knows_what_is_of_this_host_only(
    profile: str, out: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    excludes = Excludes(Tree(name="t", path=Path("/t"), profile=profile))

    def is_out(path: str) -> bool:
        return excludes.excludes_below(
            path.removesuffix("/").encode(), is_directory=path.endswith("/")
        )

    assert [path for path in out if not is_out(path)] == []
    assert [path for path in kept if is_out(path)] == []


def test_every_profile_has_patterns_that_are_right() -> None:
    for patterns in PROFILES.values():
        assert [parse(text) for text in patterns] == list(patterns)
