"""Single values: what is accepted, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from staqraft.config import values


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("1ms", 1), ("300ms", 300), ("3s", 3000), ("1.5s", 1500), ("2m", 120_000), ("3 s", 3000),
     ("1h", 3_600_000), ("7d", 604_800_000), ("0.001s", 1)],
)  # fmt: skip
def test_durations(text: str, milliseconds: int) -> None:
    assert values.duration_ms(text) == milliseconds


@pytest.mark.parametrize(
    "text", ["", "3", "-3s", "3 sec", "3S", "1.5ms", "1e3s", "s", "3s3s", "٣s", "3\ns"]
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write for instance 300ms"):
        values.duration_ms(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1B", 1), ("512KiB", 524_288), ("64MiB", 64 << 20), ("4GiB", 4 << 30), ("1.5KiB", 1536)],
)
def test_sizes(text: str, size: int) -> None:
    assert values.size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "64", "64MB", "64mib", "-1B", "1.5B"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        values.size_bytes(text)


@pytest.mark.parametrize("text", ["0s", "0ms", "0d", "0.0s"])
def test_a_duration_of_nothing_is_called_that(text: str) -> None:
    with pytest.raises(ValueError, match="is to be more than 0"):
        values.duration_ms(text)


def test_a_size_of_nothing_is_called_that() -> None:
    with pytest.raises(ValueError, match="is to be more than 0"):
        values.size_bytes("0B")


def test_what_is_done_again_and_again_has_a_lower_bound() -> None:
    assert values.duration_between("1s", "1h")("1s") == 1_000
    with pytest.raises(ValueError, match="is less than 1s: nothing is gained by doing it so often"):
        values.duration_between("1s", "1h")("999ms")
    with pytest.raises(ValueError, match="is more than 1h"):
        values.duration_between("1s", "1h")("61m")


def test_a_bound_belongs_to_what_it_bounds() -> None:
    assert values.duration_to("10m")("600s") == 600_000
    with pytest.raises(ValueError, match="is more than 10m, the most that is of use here"):
        values.duration_to("10m")("600001ms")
    assert values.size_to("1GiB")("1024MiB") == 1 << 30
    with pytest.raises(ValueError, match="is more than 1GiB"):
        values.size_to("1GiB")("1025MiB")


@pytest.mark.parametrize("text", ["nginx.service", "nginx", "getty@tty1.service", r"a\x2db.mount"])
def test_units(text: str) -> None:
    assert values.unit_name(text) == text


@pytest.mark.parametrize("text", ["", "../../x; rm", "a/b.service", "--now", "a b", "a\n"])
def test_no_units(text: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a systemd unit"):
        values.unit_name(text)


@pytest.mark.parametrize("text", ["/", "/srv/www", "/srv//www/"])
def test_absolute_paths(text: str) -> None:
    assert values.absolute_path(text) == Path(text)


@pytest.mark.parametrize("text", ["", "srv", "~/www", "/srv/../etc", "/a\nb", "/a\0b"])
def test_no_absolute_paths(text: str) -> None:
    with pytest.raises(ValueError, match="is not an absolute path"):
        values.absolute_path(text)


@pytest.mark.parametrize("text", ["192.0.2.1", "2001:db8::1", "127.0.0.1"])
def test_addresses(text: str) -> None:
    assert values.address(text) == text


@pytest.mark.parametrize("text", ["host", "192.0.2.300", "0.0.0.0", "224.0.0.1", "::", "1.2.3.4/8"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match="is not an"):
        values.address(text)


def test_a_vip_has_a_prefix() -> None:
    assert str(values.vip_address("192.0.2.10/24")) == "192.0.2.10/24"
    assert str(values.vip_address("2001:db8::10/64")) == "2001:db8::10/64"
    with pytest.raises(ValueError, match="has no prefix length"):
        values.vip_address("192.0.2.10")


@pytest.mark.parametrize("text", ["127.0.0.1/8", "::1/128"])
def test_a_vip_can_be_reached(text: str) -> None:
    with pytest.raises(ValueError, match="is an address that no other host can reach"):
        values.vip_address(text)


def test_a_directory_of_ours_is_not_the_whole_system() -> None:
    assert values.own_directory("/var/lib/x") == Path("/var/lib/x")
    with pytest.raises(ValueError, match="is the root of the system"):
        values.own_directory("/")


PARSERS: list[Callable[[str], object]] = [
    values.duration_ms, values.size_bytes, values.port, values.boolean, values.name,
    values.node_name, values.absolute_path, values.address, values.vip_address,
    values.network_interface, values.word, values.unit_name, values.own_directory,
    values.duration_to("10m"), values.size_to("1GiB"),
]  # fmt: skip


@given(parse=st.sampled_from(PARSERS), text=st.text() | st.from_regex(r"[0-9./:a-zA-Z]{1,20}"))
def test_any_text_is_a_value_or_a_value_error(parse: Callable[[str], object], text: str) -> None:
    try:
        parse(text)
    except ValueError as error:
        assert str(error).startswith(("is ", "has "))  # noqa: PT017 - either outcome is right
