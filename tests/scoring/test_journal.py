"""Appended rows are read back, in order, after any interruption; rows of another run are never mixed in."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasrm.errors import Refused
from reasrm.scoring.journal import WINDOW, Done, Journal

WHO = {"input": "abc", "model": "m"}


def fill(path: Path, rows: dict[int, bytes]) -> None:
    with Journal(path, WHO) as journal:
        for index, row in rows.items():
            journal.append(index, row)


@settings(max_examples=20, deadline=None)
@given(rng=st.randoms(use_true_random=False), rows=st.integers(1, 60), openings=st.integers(1, 8))
def test_rows_are_read_back_in_order_after_any_number_of_restarts(
    rng: random.Random, rows: int, openings: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    left = list(range(rows))
    rng.shuffle(left)
    size = -(-rows // openings)
    for start in range(0, rows, size):
        fill(path, {index: b"row %d" % index for index in left[start : start + size]})
    with Journal(path, WHO) as journal:
        assert list(journal.rows()) == [b"row %d" % index for index in range(rows)]
        assert (journal.done.low, journal.done.count) == (rows, rows)


def test_rows_stop_at_the_first_that_is_missing(tmp_path: Path) -> None:
    fill(tmp_path / "j", {0: b"a", 2: b"c", 3: b"d"})
    with Journal(tmp_path / "j", WHO) as journal:
        assert list(journal.rows()) == [b"a"]
        assert [index in journal.done for index in range(5)] == [True, False, True, True, False]


def test_a_line_torn_at_any_byte_is_cut_off_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "j"
    fill(path, {0: b"first", 1: "zweite\u2028é".encode()})
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rindex(b"\n") + 1
    for cut in range(last, len(whole)):
        path.write_bytes(whole[:cut])
        with Journal(path, WHO) as journal:
            assert list(journal.rows()) == [b"first"], cut
            journal.append(1, b"again")
            assert list(journal.rows()) == [b"first", b"again"]


def test_a_damaged_line_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "j"
    fill(path, {0: b"first", 1: b"second", 2: b"third"})
    path.write_bytes(path.read_bytes().replace(b"second", b"sEcond"))
    with Journal(path, WHO) as journal:
        assert list(journal.rows()) == [b"first"]
        assert journal.done.count == 1


def test_a_journal_killed_inside_its_header_starts_afresh(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b'{"input": "ab')
    fill(path, {0: b"x"})
    with Journal(path, WHO) as journal:
        assert journal.done.count == 1


def test_another_runs_journal_is_refused_with_what_changed_unless_restarted(tmp_path: Path) -> None:
    path = tmp_path / "j"
    fill(path, {0: b"x"})
    with pytest.raises(Refused, match=r"model was 'm' and is 'n'.*--restart"):
        Journal(path, WHO | {"model": "n"})
    with Journal(path, WHO | {"model": "n"}, restart=True) as journal:
        assert journal.done.count == 0


def test_a_file_that_is_not_a_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "j").write_text("my notes\n")
    with pytest.raises(Refused, match="is not a journal"):
        Journal(tmp_path / "j", WHO)
    assert (tmp_path / "j").read_text() == "my notes\n"


def test_two_processes_cannot_write_one_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", WHO), pytest.raises(Refused, match="being written by another process"):
        Journal(tmp_path / "j", WHO)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "j").mkdir()
    with pytest.raises(Refused, match="cannot be written"):
        Journal(tmp_path / "j", WHO)


def test_a_full_disk_is_reported_with_what_is_safe_and_the_run_continues_later(tmp_path: Path) -> None:
    path = tmp_path / "j"
    code = f"""
from pathlib import Path
import resource
from reasrm.errors import Refused
from reasrm.scoring.journal import Journal
with Journal(Path({str(path)!r}), {WHO!r}) as journal:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
    try:
        for index in range(1000):
            journal.append(index, b"x" * 100)
    except Refused as error:
        print(error)
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4000
    with Journal(path, WHO) as journal:
        assert f"{journal.done.count} rows are safe" in output
        assert 20 < journal.done.count < 40
        journal.append(journal.done.count, b"next")
        assert list(journal.rows())[-1] == b"next"


def test_a_report_that_the_disk_does_not_take_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    code = f"""
from pathlib import Path
import resource
from reasrm.errors import Refused
from reasrm.scoring.output import write_whole
write_whole(Path({str(path)!r}), "before")
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    write_whole(Path({str(path)!r}), "x" * 5000)
except Refused as error:
    print(error)
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "report.html cannot be written: File too large. Make room, and run the same command again" in output
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_finished_rows_take_memory_of_the_window_only() -> None:
    done = Done()
    for start in range(0, 10 * WINDOW, WINDOW):
        for index in reversed(range(start, start + WINDOW)):
            done.add(index)
    assert done.low == done.count == 10 * WINDOW
    assert not done._above


def test_closing_twice_is_harmless_and_removing_takes_the_file_away(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", WHO)
    journal.remove()
    journal.close()
    assert not list(tmp_path.iterdir())
