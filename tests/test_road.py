"""The whole road on real models, through the installed commands: what a user would see."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from device_agent.bundle import MODEL_TYPE, read_bundle

BIN = Path(sys.executable).parent
DIGITS = Path(__file__).resolve().parents[1] / "examples/digits"


@pytest.fixture
def env(tmp_path):
    """An environment whose agent keeps its state in the test's folder."""
    return {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "XDG_RUNTIME_DIR": str(tmp_path)}


def edge(env, *arguments, code=0):
    """Run `edge`, check its exit code, and give what it printed."""
    done = subprocess.run(
        [BIN / "edge", *map(str, arguments)], env=env, capture_output=True, text=True, check=False
    )
    assert code == done.returncode, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def samples(zoo, tmp_path_factory):
    """A function that gives the `.npz` of a data set's split, made by the zoo's own loader."""
    folder = tmp_path_factory.mktemp("samples")

    def make(name, split):
        file = folder / f"{name}_{split}.npz"
        if not file.exists():
            subprocess.run(
                [sys.executable, zoo / "load.py", name, "--split", split, "--out", file],
                check=True,
                capture_output=True,
            )
        return file

    return make


def predictions(model, images):
    """The class each image is given by a .tflite file; integer inputs are quantised by its own parameters."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    (entry,), (leave,) = interpreter.get_input_details(), interpreter.get_output_details()
    classes = []
    for image in images:
        x = image[None]
        if entry["dtype"] != np.float32:
            scale, zero_point = entry["quantization"]
            x = np.clip(np.round(x / scale) + zero_point, -128, 127).astype(entry["dtype"])
        interpreter.set_tensor(entry["index"], x)
        interpreter.invoke()
        classes.append(int(interpreter.get_tensor(leave["index"]).argmax()))
    return np.array(classes)


@pytest.mark.zoo
@pytest.mark.slow
def test_resnet8_keeps_its_accuracy(zoo, samples, env, tmp_path):
    """ResNet-8 deployed as int8 is within 0.5 points of float on the same 5,000 images, all in integers."""
    model = zoo / "models/onnx/resnet8.onnx"
    train = samples("cifar10", "train")
    edge(env, "deploy", model, "--target", "local", "--calibration", train,
         "--json", tmp_path / "result.json", "-o", tmp_path / "int8")  # fmt: skip
    edge(env, "convert", model, "--target", "local", "--precision", "float32", "-o", tmp_path / "float32")

    result = json.loads((tmp_path / "result.json").read_text())
    assert result["parity"]["passed"]
    assert 1 == result["generation"]
    for percentile in ("p50", "p90", "p99"):
        row = result["latency_ns"][percentile]
        assert 0 < row["low"] <= row["value"] <= row["high"]

    test = np.load(samples("cifar10", "test"))
    bundle = read_bundle(tmp_path / "int8")
    int8 = bundle.blob_path(bundle.manifest.layer(MODEL_TYPE).digest)
    (float32,) = (tmp_path / "float32").glob("*.tflite")
    right_int8, right_float = (predictions(file, test["x"]) == test["y"] for file in (int8, float32))
    gained, lost = int((right_int8 & ~right_float).sum()), int((right_float & ~right_int8).sum())
    print(f"float {right_float.mean():.2%}, int8 {right_int8.mean():.2%}; alone right {lost} and {gained}")
    assert (lost - gained) / len(test["y"]) <= 0.005


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("network", "count"),
    [("resnet8", 16), ("kws_dscnn", 13), ("vww_mobilenetv1_025", 31), ("ad01_autoencoder", 10)],
)
def test_operator_counts(zoo, env, tmp_path, network, count):
    """The float TFLite has as many operators as the native Keras route yields."""
    from converters.graph.read import read

    edge(env, "convert", zoo / f"models/onnx/{network}.onnx", "--target", "local", "--precision", "float32",
         "-o", tmp_path)  # fmt: skip
    (file,) = tmp_path.glob("*.tflite")
    assert count == len(read(file.read_bytes(), where=file.name).operators)


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("network", "data"),
    [
        ("resnet8", "cifar10"),
        ("kws_dscnn", "kws"),
        ("vww_mobilenetv1_025", "vww"),
        ("streaming_wakeword", "sww"),
    ],
)
def test_every_operator_is_integer(zoo, samples, env, tmp_path, network, data):
    """An int8 conversion has integer tensors only, its ends included."""
    from converters.graph.read import read

    edge(env, "convert", zoo / f"models/onnx/{network}.onnx", "--target", "rpi4",
         "--calibration", samples(data, "train"), "-o", tmp_path)  # fmt: skip
    (file,) = tmp_path.glob("*.tflite")
    graph = read(file.read_bytes(), where=file.name)
    assert {"int8", "int32"} >= {tensor.dtype for tensor in graph.tensors.values()}


def deploy_digits(env, *arguments):
    """The arguments that deploy the digits CNN as `digits`."""
    return [BIN / "edge", "deploy", DIGITS / "digits.onnx", "--target", "local", "--calibration",
            DIGITS / "calibration.npz", "--no-bench", *arguments]  # fmt: skip


def generation(env):
    """The generation of `digits` that the device says is active."""
    rows = json.loads(edge(env, "devices", "show", "local", "--json", "-").stdout)["deployments"]
    return {row["name"]: row["generation"] for row in rows}["digits"]


@pytest.mark.parametrize("state", ["STAGING", "VERIFIED", "PREFLIGHT", "ACTIVATING", "PROBING"])
def test_kill_9_in_the_middle_of_a_deploy(env, state):
    """An agent killed in any state of a deployment comes back with the earlier model answering."""
    import edge_sdk

    os.environ.update({key: env[key] for key in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR")})
    subprocess.run(deploy_digits(env), env=env, check=True, capture_output=True)
    assert 1 == generation(env)

    # The float model is another bundle for the same name; the agent dies when the state is announced.
    model = edge_sdk.load(DIGITS / "digits.onnx")
    conversion = edge_sdk.convert(model, edge_sdk.plan(model, "local", precision="float32"))
    bundle = edge_sdk.pack(conversion, Path(env["XDG_RUNTIME_DIR"]) / "bundle", name="digits")
    with pytest.raises(edge_sdk.EdgeError), edge_sdk.device("local") as device:  # noqa: PT012 - the kill is inside
        pid = device.describe().pid

        def kill(what, _done, _total):
            if state in what:
                os.kill(pid, signal.SIGKILL)

        edge_sdk.deploy(bundle, device, progress=kill)

    with edge_sdk.device("local") as device:
        (status,) = device.deployments()
        assert 1 == status.generation
        assert status.state in {"COMMITTED", "ROLLED_BACK"}
        image = np.load(DIGITS / "test.npz")["image"][:1]
        scale, zero_point = 1 / 255, -128
        answer = device.infer("digits", {"image": (np.round(image / scale) + zero_point).astype(np.int8)})
        assert (1, 10) == answer["probabilities"].shape
    subprocess.run(deploy_digits(env, "--precision", "float32"), env=env, check=True, capture_output=True)
    assert generation(env) > 1


def test_an_unmodified_open_inference_protocol_client(env):
    """tritonclient, over `edge forward`, reads the metadata and infers."""
    http = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
    edge(env, *deploy_digits(env, "--io", "float", "--name", "digits")[1:])
    relay = subprocess.Popen(
        [BIN / "edge", "forward", "--port", "0", "--json", "-"], env=env, stdout=subprocess.PIPE, text=True
    )
    try:
        port = json.loads(relay.stdout.readline())["port"]
        client = http.InferenceServerClient(f"127.0.0.1:{port}")
        assert client.is_server_live()
        assert client.is_model_ready("digits")
        metadata = client.get_model_metadata("digits")
        assert [("image", "FP32", [1, 1, 8, 8])] == [
            (i["name"], i["datatype"], i["shape"]) for i in metadata["inputs"]
        ]
        test = np.load(DIGITS / "test.npz")
        right = 0
        for image, label in zip(test["image"][:50], test["label"][:50], strict=True):
            entry = http.InferInput("image", [1, 1, 8, 8], "FP32")
            entry.set_data_from_numpy(image[None])
            right += int(client.infer("digits", [entry]).as_numpy("probabilities").argmax() == label)
        client.close()
        assert right >= 45
    finally:
        relay.send_signal(signal.SIGINT)
        assert 0 == relay.wait(10)
        relay.stdout.close()
