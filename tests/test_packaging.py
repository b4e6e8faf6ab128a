"""What is shipped, what is public, and what an import costs."""

import pkgutil
import subprocess
import sys
import zipfile
from pathlib import Path

import edge_sdk

ROOT = Path(__file__).resolve().parents[1]


def test_the_wheel_holds_the_four_packages(tmp_path):
    """The wheel has the packages, their data files and the two commands, and no tests."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read(
            next(name for name in names if name.endswith("entry_points.txt"))
        ).decode()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert {"edge_sdk", "converters", "targets", "device_agent"} == tops
    assert "targets/boards/local.toml" in names
    assert "edge_sdk/devices/bootstrap/scripts/launcher.sh" in names
    assert "edge = edge_sdk.cli.main:main" in entry_points
    assert "edge-agent = device_agent.main:main" in entry_points


def test_the_public_api():
    """`edge_sdk.__all__` is the public API: sorted, and each name is there."""
    assert sorted(edge_sdk.__all__) == edge_sdk.__all__
    assert all(getattr(edge_sdk, name) is not None for name in edge_sdk.__all__)
    assert {
        "Artifact", "BenchmarkRequest", "BenchmarkResult", "Bundle", "Choice", "Conversion",
        "Deployment", "Device", "EdgeError", "Execution", "Fastest", "Fidelity", "Model",
        "Optimization", "Plan", "Preflight", "Quantization", "Search", "Selector", "Signature",
        "Target", "TensorSpec", "Verdict", "__version__", "benchmark", "convert", "deploy",
        "deploy_fastest", "device", "inspect", "load", "open_bundle", "optimize", "pack", "place",
        "plan", "quantize", "sign",
    } == set(edge_sdk.__all__)  # fmt: skip


def test_no_module_hides_a_public_name():
    """Importing a submodule sets it on the package; none has the name of a public function."""
    modules = {module.name for module in pkgutil.iter_modules(edge_sdk.__path__)}
    assert set() == modules & set(edge_sdk.__all__)


def test_help_imports_nothing_heavy():
    """`edge --help` answers at once because nothing heavy is imported for it."""
    heavy = {"numpy", "onnx", "onnxruntime", "ai_edge_litert", "ai_edge_quantizer", "paramiko", "PIL", "rich",
             "starlette", "uvicorn", "http.client", "cattrs", "dns"}  # fmt: skip
    code = (
        "import sys; sys.argv = ['edge', '--help']; from edge_sdk.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print('\\n' + ' '.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: edge" in done.stdout
    assert set() == heavy & set(done.stderr.split())


def test_the_agent_imports_nothing_compiled():
    """The agent's own process loads no NumPy and no runtime: they live in its workers."""
    code = "import sys, device_agent.main, device_agent.server; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set() == {"numpy", "ai_edge_litert", "onnx", "edge_sdk", "converters"} & set(done.stdout.split())
