"""What tests of the OpenVINO road share; they skip without OpenVINO."""

from collections.abc import Iterator

import pytest

from converters.openvino import opened
from tests.conftest import needs


@pytest.fixture(autouse=True, scope="package")
def openvino() -> Iterator[None]:
    """OpenVINO, and no process of it left behind."""
    needs("openvino", extra="openvino")
    yield
    opened.forget()
