from pathlib import Path

import pytest

from components.image_example_gen.ledgers import WriteLedger, read_ledger, write_parts


@pytest.fixture
def scratch(tmp_path) -> Path:
    """A folder whose name would be a pattern that does not match it."""
    folder = tmp_path / "w[2]"
    folder.mkdir()
    return folder


def write_bundle(scratch: Path, *records: str, finish: bool = True) -> None:
    writer = WriteLedger(str(scratch), "seen", str.upper)
    writer.start_bundle()
    for record in records:
        writer.process(record)
    if finish:
        writer.finish_bundle()


def test_the_lines_of_all_bundles_are_read_whatever_the_folder_is_called(scratch):
    write_bundle(scratch, "a", "b")
    write_bundle(scratch)
    write_bundle(scratch, "c")
    assert sorted(read_ledger(str(scratch), "seen")) == ["A", "B", "C"]


def test_a_bundle_that_died_leaves_no_lines(scratch):
    write_bundle(scratch, "a")
    write_bundle(scratch, "b", finish=False)
    assert list(read_ledger(str(scratch), "seen")) == ["A"]


def test_a_ledger_that_nothing_was_written_into_is_empty(scratch):
    assert list(read_ledger(str(scratch), "seen")) == []


def test_records_are_handed_over_in_files_of_256(scratch):
    from components.image_example_gen.ledgers import _read_part

    records = [(number, "caf\udce9") for number in range(300)]
    paths = list(write_parts(records, str(scratch), "unknown"))
    assert [Path(path).name for path in paths] == ["unknown-000000", "unknown-000001"]
    assert [len(_read_part(path)) for path in paths] == [256, 44]
    assert [one for path in paths for one in _read_part(path)] == records
