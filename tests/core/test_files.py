"""A file is there whole or not at all."""

import pytest

from otlab.core.files import aside


def test_invariant_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with aside(path) as part:
        assert path.parent.is_dir() and part.parent == path.parent
        part.write_text("old")
        assert not path.exists()
    with aside(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and [p.name for p in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path, error):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(error), aside(str(path)) as part:
        part.write_text("ha")
        raise error
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_failure_a_block_that_writes_nothing_is_no_success(tmp_path):
    with pytest.raises(FileNotFoundError), aside(tmp_path / "a"):
        pass
