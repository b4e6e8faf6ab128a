"""Facts of devices, Pythons of this machine, and agents that are broken in one way."""

import hashlib
import io
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import attrs
import pytest

from edge_sdk.devices.bootstrap import archive as archives
from edge_sdk.devices.bootstrap.archive import Archive
from edge_sdk.devices.bootstrap.probe import Facts, parse

FACTS = Path(__file__).parent / "facts"
CASES = sorted(path.stem for path in FACTS.glob("*.txt"))
Patch = Callable[[str, str], Archive]


def facts(case: str) -> Facts:
    """The facts of a device in tests/.../facts."""
    return parse((FACTS / f"{case}.txt").read_text())


@pytest.fixture(scope="session")
def archive() -> Archive:
    """The agent's archive, built once."""
    return archives.build()


@pytest.fixture(scope="session")
def archive_file(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It as a file."""
    path = tmp_path_factory.mktemp("archive") / archives.NAME
    path.write_bytes(archive.data)
    return path


def altered(archive: Archive, name: str, text: str) -> Archive:
    """The archive with one module replaced, or with a new one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive.data)) as source, zipfile.ZipFile(buffer, "w") as target:
        for entry in source.namelist():
            if entry != name:
                target.writestr(entry, source.read(entry))
        target.writestr(name, text)
    data = buffer.getvalue()
    return attrs.evolve(archive, data=data, sha256=hashlib.sha256(data).hexdigest())


@pytest.fixture(scope="session")
def patched(archive: Archive) -> Patch:
    """Makes the archive with one module replaced, or with a new one."""
    return partial(altered, archive)


@pytest.fixture
def python310() -> str:
    """A Python 3.10, the floor on devices; skips where there is none."""
    own = Path(pwd.getpwuid(os.getuid()).pw_dir)  # HOME is the test's
    candidates = [shutil.which("python3.10"), *map(str, own.glob(".pyenv/versions/3.10.*/bin/python3"))]
    for candidate in filter(None, candidates):
        done = subprocess.run(
            [candidate, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, check=False
        )
        if done.stdout.strip() == b"(3, 10)":
            return candidate
    pytest.skip("no python3.10 on PATH or in pyenv")


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty home folder with a path short enough for a socket; whatever runs from it is ended."""
    folder = Path(tempfile.mkdtemp(prefix="edge-home-"))
    yield folder
    for pid in processes(folder):
        os.kill(pid, 9)
    shutil.rmtree(folder)


def processes(folder: Path) -> list[int]:
    """The processes whose command line names a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                if os.fsencode(folder) in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue  # it has just ended
    return found


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Everything under a folder: modes and contents by name."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


def silent(_what: str, _done: int, _total: int) -> None:
    """No progress."""


PYTHON = sys.executable
