"""`edge-agent.pyz`."""

import hashlib
import io
import json
import signal
import subprocess
import zipfile
from pathlib import Path

import pytest

import device_agent
from device_agent.errors import DeviceError, MissingDependency
from edge_sdk.devices.bootstrap import archive as archives
from edge_sdk.devices.bootstrap.archive import Archive
from edge_sdk.devices.device import Device
from edge_sdk.devices.transports.local import LocalTransport
from targets.schema import load_target
from tests.edge_sdk.conftest import MakeBundle
from tests.edge_sdk.devices.bootstrap.conftest import PYTHON


def test_the_same_packages_give_the_same_bytes(archive: Archive) -> None:
    """Built twice, it is the same file, sorted and without a time."""
    again = archives.build()
    assert archive.sha256 == again.sha256 == hashlib.sha256(again.data).hexdigest()
    with zipfile.ZipFile(io.BytesIO(archive.data)) as file:
        infos = file.infolist()
    assert sorted(info.filename for info in infos) == [info.filename for info in infos]
    assert {(1980, 1, 1, 0, 0, 0)} == {info.date_time for info in infos}


def test_it_is_small_and_pure(archive: Archive) -> None:
    """At most 3 MB, no compiled module, no test, and what Python 3.10 needs is there."""
    with zipfile.ZipFile(io.BytesIO(archive.data)) as file:
        names = file.namelist()
    print(f"edge-agent.pyz: {len(archive.data)} bytes, {len(names)} files")
    assert len(archive.data) <= 3_000_000
    assert [] == [name for name in names if name.endswith((".so", ".pyc")) or "/tests/" in name]
    assert {"__main__.py", "device_agent/main.py", "exceptiongroup/__init__.py", "typing_extensions.py"} <= {
        *names
    }
    assert {"attrs", "starlette", "uvicorn", "h11"} <= {one.partition("==")[0] for one in archive.packages}


def test_the_agent_imports_no_command_line_of_others(archive_file: Path) -> None:
    """Starting takes imports, most of all on a small board: those that serve nothing are left out."""
    code = f"import sys; sys.path.insert(0, {str(archive_file)!r}); import device_agent.server"
    code += "; print(*sys.modules)"
    found = subprocess.check_output([PYTHON, "-I", "-c", code], text=True).split()
    assert "uvicorn.server" in found
    assert set() == {"click", "uvicorn.main", "uvicorn.supervisors", "importlib.metadata"} & {*found}


def test_a_compiled_module_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with a compiled module would not run on the device."""
    info = tmp_path / "fastone-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fastone\nVersion: 1.0\n")
    (tmp_path / "fastone").mkdir()  # Python 3.12 leaves files out that are not there
    (tmp_path / "fastone/_speedups.cpython-311-x86_64-linux-gnu.so").touch()
    (info / "RECORD").write_text("fastone/_speedups.cpython-311-x86_64-linux-gnu.so,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(archives, "ROOTS", ("fastone",))
    with pytest.raises(DeviceError, match=r"_speedups.*\.so"):
        archives.build()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not installed here cannot travel."""
    monkeypatch.setattr(archives, "ROOTS", ("no-such-package",))
    with pytest.raises(MissingDependency, match="no-such-package"):
        archives.build()


def test_it_says_what_it_is_on_the_oldest_python(python310: str, archive_file: Path, tmp_path: Path) -> None:
    """`--version` and `describe` on Python 3.10, with nothing of ours installed there."""
    said = subprocess.check_output([python310, "-I", archive_file, "--version"], text=True)
    assert f"edge-agent {device_agent.__version__}\n" == said
    described = subprocess.check_output(
        [python310, "-I", archive_file, "describe", "--json", "--state-dir", tmp_path / "state"]
    )
    assert json.loads(described)["python"].startswith("3.10.")


@pytest.mark.parametrize("oldest", [True, False])
def test_it_serves_and_its_workers_start_from_it(
    request: pytest.FixtureRequest, archive_file: Path, home: Path, make_bundle: MakeBundle, oldest: bool
) -> None:
    """An agent that runs from the file deploys a model and infers with it in a worker."""
    python = request.getfixturevalue("python310") if oldest else PYTHON
    state = home / "state"
    with subprocess.Popen(
        [python, "-I", archive_file, "serve", "--state-dir", state], stderr=subprocess.PIPE, cwd="/"
    ) as agent:
        try:
            assert agent.stderr is not None
            while b'"event": "serving"' not in (line := agent.stderr.readline()):
                assert line
            with Device("local", load_target("null"), LocalTransport(state)) as device:
                assert agent.pid == device.describe().pid
                deployment = device.deploy(make_bundle())
                assert "COMMITTED" == deployment.deployed.status.state
        finally:
            agent.send_signal(signal.SIGTERM)
            _, said = agent.communicate(timeout=60)
    assert 0 == agent.returncode, said
