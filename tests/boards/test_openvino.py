"""OpenVINO on a 64-bit ARM board that lacks it: fetched here, unpacked and run there."""

from pathlib import Path

import pytest

from tests.boards.emulator import Workshop
from tests.openvino_bundle import write_ir_bundle

pytestmark = [pytest.mark.board, pytest.mark.slow, pytest.mark.timeout(600)]


def test_it_comes_where_it_is_asked_for(shop: Workshop, tmp_path: Path) -> None:
    """Installed without internet there, a model is within its tolerance; an upgrade keeps the runtime."""
    with shop.board("user", "openvino") as board:
        outcome = board.install("rpi4", runtimes=["openvino"])
        assert ("litert", "openvino") == outcome.runtimes
        assert outcome.agent is not None
        assert {"litert", "openvino"} <= {one.name for one in outcome.agent.runtimes}
        with board.device("rpi4") as device:
            assert ["CPU"] == [one.name for one in device.runtime_devices("openvino")]
            assert device.deploy(write_ir_bundle(tmp_path / "product", target="rpi4")).parity.passed
        assert ("litert", "openvino") == board.install("rpi4", upgrade=True).runtimes
