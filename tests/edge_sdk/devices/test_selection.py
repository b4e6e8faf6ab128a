"""Which device is meant where none is named."""

from pathlib import Path

import pytest

from device_agent.errors import InvalidRequest
from edge_sdk.devices import inventory, selection
from edge_sdk.devices.inventory import Entry


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of this machine's agent, which has never run."""
    monkeypatch.setenv("EDGE_AGENT_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def deployed(state: Path, model: str) -> None:
    """What a model that is active leaves in a state folder."""
    folder = state / "models" / model
    (folder / "gens/1").mkdir(parents=True)
    (folder / "current").symlink_to("gens/1")


def register(*names: str, target: str = "rpi4") -> None:
    for name in names:
        inventory.add(Entry(name=name, address=f"pi@{name}", target=target))


def test_nothing_registered(here: Path) -> None:
    """Where no device is registered, this machine is the only one there is."""
    assert "local" == selection.choose_deployed("digits")
    assert "local" == selection.choose_deployed(None, "null")
    assert "local" == selection.choose_deployed("digits", "local")
    with pytest.raises(InvalidRequest, match="no device is registered for target rpi4"):
        selection.choose_deployed("digits", "rpi4")


def test_one_registered(here: Path) -> None:
    """The only registered device is meant, also where another model is deployed on this machine."""
    register("kitchen")
    deployed(here, "other")
    assert "kitchen" == selection.choose_deployed("digits")
    assert "kitchen" == selection.choose_deployed("digits", "rpi4")
    assert "local" == selection.choose_deployed("digits", "local")


@pytest.mark.parametrize("model", ["digits", None])
def test_one_registered_and_the_model_is_here_too(here: Path, model: str | None) -> None:
    """Where both may be meant none is chosen: a rollback on the wrong device is worse than a question."""
    register("kitchen")
    deployed(here, "digits")
    with pytest.raises(InvalidRequest) as caught:
        selection.choose_deployed(model)
    assert "local, kitchen (local is this machine)" == caught.value.got
    assert "`--device local` or `--device kitchen`" in str(caught.value)
    assert "kitchen" == selection.choose_deployed(model, "rpi4")


def test_several_registered(here: Path) -> None:
    """Several are listed, unless the target leaves one."""
    register("kitchen", "hall")
    register("server", target="rpi5")
    with pytest.raises(InvalidRequest, match="kitchen, hall, server"):
        selection.choose_deployed("digits")
    with pytest.raises(InvalidRequest, match="kitchen, hall"):
        selection.choose_deployed("digits", "rpi4")
    assert "server" == selection.choose_deployed("digits", "rpi5")


def test_installing_never_falls_on_this_machine(here: Path) -> None:
    """What changes a machine is not done to this one unless it is named."""
    with pytest.raises(InvalidRequest, match="`local` this machine"):
        selection.choose_registered()
    register("kitchen")
    assert "kitchen" == selection.choose_registered()
    register("hall")
    with pytest.raises(InvalidRequest, match="`kitchen` or `hall`"):
        selection.choose_registered()
    with pytest.raises(InvalidRequest, match="for target rpi5"):
        selection.choose_registered("rpi5")


def test_a_name_that_is_no_path(here: Path) -> None:
    """A deployment's name is checked before it is looked for on the disk."""
    with pytest.raises(InvalidRequest):
        selection.held_here("../../etc")
