"""Whatever the file holds, loading it ends with a Config or a ConfigError, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fakes.configs import write_config
from staqraft.config.loader import load
from staqraft.errors import ConfigError

# One directory for all examples: each overwrites the file before it reads it.
fuzz = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def load_or_refuse(path: Path) -> None:
    try:
        load(path)
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - loading is right, too
        for problem in error.problems:
            assert problem.startswith(f"{path}:")
            assert problem.isprintable()


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("right"))


@fuzz
@given(content=st.binary(max_size=300))
@example(content=b"%YAML 9.9\n---\n")
@example(content=b"!!python/object/apply:os.system [id]")
@example(content=b"- &a [*a]")
@example(content=b"? ? ?")
@example(content=b"a: !<tag:yaml.org,2002:int> x\n")
@example(content=b"%TAG ! tag:x,2000:\n--- !<!> a")
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "staqraft.yaml"
    path.write_bytes(content)
    load_or_refuse(path)


@fuzz
@given(content=st.text(alphabet="ab: {}[]-?|>&*!%@`'\"#,\n\t\\xuU0", max_size=80))
def test_any_text_of_yamls_own_signs(tmp_path: Path, content: str) -> None:
    path = tmp_path / "staqraft.yaml"
    path.write_text(content)
    load_or_refuse(path)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
THINGS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3),
    max_leaves=6,
)


@fuzz
@given(data=st.data(), thing=THINGS)
def test_a_right_file_with_anything_anywhere(
    right: Path, tmp_path: Path, data: st.DataObject, thing: object
) -> None:
    content = yaml.safe_load(right.read_text())
    place = content
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or not place[key] or data.draw(st.booleans()):
            place[key] = thing
            break
        place = place[key]
    path = tmp_path / "staqraft.yaml"
    path.write_text(yaml.safe_dump(content))
    load_or_refuse(path)


@fuzz
@given(data=st.data())
def test_a_right_file_with_bytes_changed(right: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(right.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "staqraft.yaml"
    path.write_bytes(content)
    load_or_refuse(path)
