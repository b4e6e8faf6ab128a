"""Releases of the agent on its device."""

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from device_agent import releases
from device_agent.errors import DeviceError, InvalidBundle, InvalidRequest


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    """What a host copied: an archive and a wheel."""
    folder = tmp_path / "staging"
    (folder / "wheels").mkdir(parents=True)
    make_zip(folder / "edge-agent.pyz", {"__main__.py": "print('agent')", "pkg/__init__.py": ""})
    make_zip(
        folder / "wheels/toy-1-py3-none-any.whl",
        {
            "toy/__init__.py": "",
            "toy-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: toy\nVersion: 1\n",
            "toy-1.data/purelib/pure.py": "",
            "toy-1.data/scripts/toy": "#!python",
        },
    )
    describe(folder)
    return folder


def make_zip(path: Path, entries: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, text in entries.items():
            file.writestr(name, text)


def describe(folder: Path, **changes: object) -> None:
    def digest(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    wheels = {path.name: digest(path) for path in (folder / "wheels").iterdir()}
    fields = {"id": "1-a", "archive": digest(folder / "edge-agent.pyz"), "wheels": wheels, **changes}
    (folder / "release.json").write_text(json.dumps(fields))


def test_a_release_is_unpacked_and_compiled(tmp_path: Path, staging: Path) -> None:
    """The archive becomes lib, the wheels site without their scripts; a second time nothing happens."""
    root = tmp_path / "root"
    assert "1-a" == releases.add(root, staging)
    release = root / "releases/1-a"
    site = {str(path.relative_to(release / "site")) for path in (release / "site").rglob("*.py")}
    assert {"toy/__init__.py", "pure.py"} == site
    assert not list(release.rglob("scripts"))
    assert list(release.rglob("lib/pkg/__pycache__/*.pyc"))
    assert sys.executable == (release / "python").read_text().strip()
    assert b"agent\n" == subprocess.check_output([sys.executable, "-I", release / "lib"])
    before = release.stat().st_ctime_ns
    assert "1-a" == releases.add(root, staging)
    assert before == release.stat().st_ctime_ns


def test_a_file_that_is_not_the_one_sent(tmp_path: Path, staging: Path) -> None:
    """A wheel with another digest, or none at all, makes no release."""
    wheel = staging / "wheels/toy-1-py3-none-any.whl"
    content = wheel.read_bytes()
    wheel.write_bytes(content[:-1] + b"\1")
    with pytest.raises(InvalidBundle, match="not the one sent"):
        releases.add(tmp_path / "root", staging)
    wheel.unlink()
    with pytest.raises(InvalidBundle, match="missing"):
        releases.add(tmp_path / "root", staging)
    assert not (tmp_path / "root/releases/1-a").exists()
    wheel.write_bytes(content)
    assert "1-a" == releases.add(tmp_path / "root", staging), "what was left behind is in nobody's way"


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "a\\..\\x", "x-1.data/purelib/../../x"])
def test_a_name_that_leads_out(tmp_path: Path, staging: Path, name: str) -> None:
    """A wheel writes nowhere but into its release."""
    make_zip(staging / "wheels/toy-1-py3-none-any.whl", {name: "evil"})
    describe(staging)
    with pytest.raises(DeviceError, match="leads out"):
        releases.add(tmp_path / "root", staging)
    assert not list(tmp_path.rglob("x"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"id": 1, "archive": "a", "wheels": {}}',
        '{"id": "a", "archive": "a", "wheels": {"../x": "a"}}',
    ],
)
def test_a_description_that_makes_no_sense(tmp_path: Path, staging: Path, text: str) -> None:
    """It is refused by name."""
    (staging / "release.json").write_text(text)
    with pytest.raises(InvalidBundle):
        releases.add(tmp_path / "root", staging)


@pytest.mark.parametrize("name", ["", ".hidden", "a b", "a\nb", "x" * 100])
def test_an_id_that_is_none(tmp_path: Path, staging: Path, name: str) -> None:
    """An id is one plain word."""
    describe(staging, id=name)
    with pytest.raises(InvalidRequest, match="not the id"):
        releases.add(tmp_path / "root", staging)


def test_two_releases_are_kept(tmp_path: Path, staging: Path) -> None:
    """The current one and the one before it; a third goes, and so does what was left half made."""
    root = tmp_path / "root"
    for name in ("1-a", "1-b", "1-c"):
        describe(staging, id=name)
        releases.add(root, staging)
        releases.activate(root, name)
    (root / "releases/.1-d.part").mkdir()
    releases.activate(root, "1-c")
    assert {"1-b", "1-c"} == {path.name for path in (root / "releases").iterdir()}
    assert ("1-c", "1-b") == ((root / "current").readlink().name, (root / "previous").readlink().name)
    with pytest.raises(InvalidRequest, match="no such release"):
        releases.activate(root, "1-a")


def test_a_trial_is_written_and_settled(tmp_path: Path, staging: Path) -> None:
    """`try` names the release and its seconds, and forgets an earlier attempt; `settle` removes both."""
    root, state = tmp_path / "root", tmp_path / "state"
    state.mkdir()
    releases.add(root, staging)
    (state / "trial.begun").touch()
    releases.try_out(root, state, "1-a", 60)
    assert ["trial"] == [path.name for path in state.iterdir()]
    assert "1-a 60\n" == (state / "trial").read_text()
    with pytest.raises(InvalidRequest, match="no such release"):
        releases.try_out(root, state, "1-z", 60)
    releases.settle(state)
    assert [] == list(state.iterdir())
