"""The directory of a witness for many clusters: what is usable, what is left out, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.many import QUICK, Town
from staqraft.cli.staqraftd import main
from staqraft.config.clusters import MANY, Shared, own_state, read_clusters


@pytest.fixture
def town(tmp_path: Path) -> Town:
    made = Town(tmp_path, 7400, 9417)
    for number in range(3):
        made.add(number)
    return made


def test_each_directory_is_a_cluster(town: Town) -> None:
    found = read_clusters(town.clusters)
    assert (list(found.usable), found.left_out, found.warnings) == (["c0", "c1", "c2"], {}, ())


def test_a_file_is_a_cluster_too_and_hidden_ones_are_none(town: Town) -> None:
    (town.clusters / "four.yaml").write_text(town.text(4, "w"))
    (town.clusters / ".five.yaml").write_text(town.text(5, "w"))
    assert list(read_clusters(town.clusters).usable) == ["c0", "c1", "c2", "c4"]


def test_a_cluster_with_a_mistake_is_left_out_and_the_others_stay(town: Town) -> None:
    path = town.add(1, town.text(1, "w").replace("lease:", "leese:"))
    found = read_clusters(town.clusters)
    assert list(found.usable) == ["c0", "c2"]
    assert "leese" in str(found.left_out[path])


def test_a_directory_without_its_file_is_said(town: Town) -> None:
    (town.clusters / "empty").mkdir()
    assert [path.parent.name for path in read_clusters(town.clusters).left_out] == ["empty"]


def test_a_certificate_of_another_cluster_leaves_a_cluster_out(town: Town) -> None:
    path = town.add(1, town.text(1, "w", files=town.pki(2)))
    assert "not for node w of cluster c1" in str(read_clusters(town.clusters).left_out[path])


def test_a_replica_is_not_served_beside_others(town: Town) -> None:
    path = town.add(1, town.text(1, "a"))
    assert "can only be their witness" in str(read_clusters(town.clusters).left_out[path])


def test_who_differs_from_most_in_the_port_is_left_out(town: Town) -> None:
    path = town.add(0, town.text(0, "w").replace("control: 7400", "control: 7500"))
    found = read_clusters(town.clusters)
    assert (list(found.usable), list(found.left_out)) == (["c1", "c2"], [path])
    assert "ports.control: 7500 differs from the other clusters' 7400" in str(found.left_out)


def test_what_a_running_process_has_counts_more_than_what_most_say(town: Town) -> None:
    config = read_clusters(town.clusters).usable["c0"]
    other = Shared(
        control_port=7500,
        metrics_port=9417,
        admin_socket=config.admin_socket,
        run_dir=config.run_dir,
    )
    assert not read_clusters(town.clusters, shared=other).usable


def test_two_files_of_one_cluster_are_one_too_many(town: Town) -> None:
    (town.clusters / "copy").mkdir()
    (town.clusters / "copy" / "staqraft.yaml").write_text(town.text(2, "w"))
    found = read_clusters(town.clusters)
    assert found.usable["c2"].source.parent.name == "c2"
    assert "is served from" in str(found.left_out[town.clusters / "copy" / "staqraft.yaml"])


def test_each_cluster_has_a_state_directory_of_its_own(town: Town) -> None:
    places = {own_state(c).state_dir for c in read_clusters(town.clusters).usable.values()}
    assert len(places) == 3


def test_a_witness_whose_replicas_would_connect_to_it_is_warned_of(town: Town) -> None:
    text = town.text(0, "w").replace("  b:", "  z:")
    town.add(0, text)
    assert "z of cluster c0 sort behind w" in str(read_clusters(town.clusters).warnings)


def test_quick_elections_are_warned_of_where_many_share_the_witness(tmp_path: Path) -> None:
    town = Town(tmp_path, 7400, 9417, QUICK)
    for number in range(MANY - 1):
        town.add(number)
    assert not read_clusters(town.clusters).warnings
    town.add(MANY)
    assert len(read_clusters(town.clusters).warnings) == MANY


def test_check_reports_the_problems_of_all_files_at_once(
    town: Town, capsys: pytest.CaptureFixture[str]
) -> None:
    town.add(0, town.text(0, "w").replace("lease:", "leese:"))
    town.add(1, town.text(1, "w").replace("node: w", "node: x"))
    assert main(["--clusters", str(town.clusters), "--check"]) == 2
    said = capsys.readouterr().err
    assert "leese" in said
    assert "'x' is not one of the nodes" in said


def test_check_says_ok_of_a_good_directory(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--clusters", str(town.clusters), "--check"]) == 0
    assert "good as the witness of 3 clusters: c0, c1, c2\nOK" in capsys.readouterr().out


def test_an_empty_directory_says_what_belongs_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--clusters", str(tmp_path), "--check"]) == 2
    assert "make a directory for each" in capsys.readouterr().err
