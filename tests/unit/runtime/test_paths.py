import pytest

from broker_trio.runtime.paths import ancestors, check_folder, check_path, parent_of


@pytest.mark.parametrize("path", ["a", "a/b", "%RETRY%g/0/00000000000000000000", "..a/b..", "a.b"])
def test_plain_relative_paths_pass(path: str) -> None:
    """Relative paths of plain names pass unchanged, dots inside a name included."""
    assert check_path(path) == path


@pytest.mark.parametrize("path", ["", "/", "/a", "a/", "a//b", ".", "a/.", "..", "a/../b", "a\0"])
def test_paths_that_could_leave_the_root_are_refused(path: str) -> None:
    """Empty, absolute, dotted and NUL paths are ValueErrors that show the path."""
    with pytest.raises(ValueError, match="path"):
        check_path(path)


def test_the_root_is_a_folder_only() -> None:
    """The empty string names the root where a folder is wanted, and nowhere else."""
    assert check_folder("") == ""
    with pytest.raises(ValueError, match="path"):
        check_folder("/")


def test_ancestors_are_outermost_first() -> None:
    """A folder's ancestors end with itself; the root has none."""
    assert list(ancestors("a/bc/d")) == ["a", "a/bc", "a/bc/d"]
    assert list(ancestors("a")) == ["a"]
    assert list(ancestors("")) == []
    assert (parent_of("a/bc/d"), parent_of("a")) == ("a/bc", "")
