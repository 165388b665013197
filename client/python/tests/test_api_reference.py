"""docs/api-python.md has every public name as it is now, and each has a docstring."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import polarway
import polarway.async_client
import polarway.client
import polarway.feeds

REPOSITORY = Path(__file__).parents[3]
SCRIPTS = REPOSITORY / "scripts"
PAGE = REPOSITORY / "docs" / "api-python.md"
SOURCE = REPOSITORY / "client" / "python" / "python"


def _checked(source: Path, page: Path = PAGE) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        str(SCRIPTS / "api_reference.py"),
        "--check",
        "--source",
        str(source),
        "--page",
        str(page),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def _changed(directory: Path, file: str, before: str, after: str) -> Path:
    """A copy of the package with another text in one place."""
    shutil.copytree(SOURCE, directory, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    changed = directory / "polarway" / file
    text = changed.read_text()
    assert text.count(before) == 1
    changed.write_text(text.replace(before, after))
    return directory


def test_the_page_is_that_of_the_sources_and_every_name_has_a_docstring() -> None:
    checked = _checked(SOURCE)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_every_public_name_has_its_place() -> None:
    modules = (polarway, polarway.async_client, polarway.client, polarway.feeds)
    public = {name for module in modules for name in module.__all__}
    headings = re.findall(r"^### (\w+)$", PAGE.read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(public)


def test_a_name_without_a_docstring_is_told(tmp_path: Path) -> None:
    docstring = '        """The columns\' names."""\n'
    checked = _checked(_changed(tmp_path / "package", "table.py", docstring, ""))
    assert checked.returncode == 1
    assert "Table.columns has no docstring" in checked.stderr


def test_an_attribute_that_nothing_tells_of_is_told(tmp_path: Path) -> None:
    line = "        state: `queued`, `running`, `finished`, `failed` or `cancelled`.\n"
    checked = _checked(_changed(tmp_path / "package", "streams.py", line, ""))
    assert checked.returncode == 1
    assert "Progress.state has no docstring" in checked.stderr


def test_another_signature_makes_the_page_out_of_date(tmp_path: Path) -> None:
    checked = _checked(
        _changed(tmp_path / "package", "live_options.py", "linger: float = 0.01", "linger: float = 0.02")
    )
    assert checked.returncode == 1
    assert "out of date" in checked.stderr
    assert "has no docstring" not in checked.stderr


def test_a_page_that_is_not_there_is_out_of_date(tmp_path: Path) -> None:
    assert "out of date" in _checked(SOURCE, tmp_path / "none.md").stderr


def test_the_examples_of_the_scripts_say_what_they_give() -> None:
    files = [str(path) for path in sorted(SCRIPTS.glob("api_*.py"))]
    assert files
    told = subprocess.run(
        [sys.executable, "-m", "doctest", *files], cwd=SCRIPTS, capture_output=True, text=True, timeout=120, check=False
    )
    assert (told.returncode, told.stdout) == (0, "")
