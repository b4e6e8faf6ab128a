"""The file of registered devices, and the choice among them."""

import os
import threading
from pathlib import Path

import pytest
from attrs import evolve

from device_agent.errors import FileMissing, InvalidRequest, OutputError, UnknownTarget
from edge_sdk.devices import inventory, selection
from edge_sdk.devices.inventory import Entry

KITCHEN = Entry("kitchen", "pi@10.0.0.2", "rpi4")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBpSb2y3U2tyvA0hoBOmT5KPMGWYaXAgYxZNmVuNpUMU"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"


def write(text: str) -> Path:
    """The file with this text."""
    path = inventory.path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_where_it_is(tmp_path: Path, own_settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EDGE_DEVICES, else XDG_CONFIG_HOME, else ~/.config."""
    assert own_settings / ".config/edge/devices.toml" == inventory.path()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert tmp_path / "edge/devices.toml" == inventory.path()
    monkeypatch.setenv("EDGE_DEVICES", str(tmp_path / "x.toml"))
    assert tmp_path / "x.toml" == inventory.path()


def test_what_was_added_is_loaded() -> None:
    """Every field comes back, whatever characters it holds, and the order stays."""
    odd = Entry("odd", "u@h:22", "rpi5", 'a"b\\c', "/k\nh\t\x7f\u00e9", KEY, 'sh -c "x \\" y"')
    assert {} == inventory.load()
    assert odd == inventory.add(odd)
    assert KITCHEN == inventory.add(KITCHEN)
    assert [odd, KITCHEN] == list(inventory.load().values())
    assert ["devices.toml"] == [path.name for path in inventory.path().parent.iterdir()]
    assert odd == inventory.remove("odd")
    assert [KITCHEN] == list(inventory.load().values())


def test_adding_again_changes_what_is_given() -> None:
    """Options that are given replace those registered, the others stay; another address is refused."""
    inventory.add(evolve(KITCHEN, identity="/key"))
    changed = inventory.add(evolve(KITCHEN, target="rpi5", host_key=KEY))
    assert evolve(KITCHEN, target="rpi5", host_key=KEY, identity="/key") == changed
    with pytest.raises(InvalidRequest, match="another address"):
        inventory.add(evolve(KITCHEN, address="pi@10.0.0.3"))
    with pytest.raises(InvalidRequest, match="another host key"):
        inventory.add(evolve(KITCHEN, host_key=OTHER))
    assert changed == inventory.load()["kitchen"]


@pytest.mark.parametrize("name", ["", "Kitchen", "local", "fake", "a b", "-x", "a.b", "a@b", "x" * 64])
def test_names(name: str) -> None:
    """A name is short, lower case and none of the built-in ones."""
    with pytest.raises(InvalidRequest, match="cannot have this name"):
        inventory.add(evolve(KITCHEN, name=name))


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("[kitchen\n", "devices.toml", "line 1"),
        ("kitchen = 1\n", "line 1, [kitchen]", "a table"),
        ('\n[kitchen]\naddress = "pi@h"\n', "line 2, [kitchen]", "target is missing"),
        ('[kitchen]\ntarget = "rpi4"\n', "line 1, [kitchen]", "address is missing"),
        ('[a]\naddress="h"\ntarget="t"\n[b]\nadress = "pi@h"\n', "line 5, [b] adress", "expected address"),
        ('[a]\naddress = "pi@h"\ntarget = 4\n', "line 3, [a] target", "a string in quotes"),
        ('[a]\ntarget = "t"\naddress = "pi@h:x"\n', "line 3, [a] address", "not an SSH address"),
        ('[a]\ntarget = "t"\naddress = "h"\nhost_key = "x"\n', "line 4, [a] host_key", "not a public key"),
        ('[local]\ntarget = "t"\naddress = "h"\n', "line 1, [local]", "cannot have this name"),
    ],
)
def test_errors_name_line_and_key(text: str, where: str, words: str) -> None:
    """What is wrong in a file that was edited is found: file, line, device, key."""
    path = write(text)
    with pytest.raises(InvalidRequest) as caught:
        inventory.load()
    assert str(path) in str(caught.value)
    assert where in str(caught.value)
    assert words in str(caught.value)
    with pytest.raises(InvalidRequest):
        inventory.add(Entry("other", "h", "rpi4"))
    assert text == path.read_text()


def test_a_file_that_cannot_be_read_or_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both are errors of ours that name the file."""
    monkeypatch.setenv("EDGE_DEVICES", str(tmp_path))
    with pytest.raises(FileMissing):
        inventory.load()
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGE_DEVICES", str(tmp_path / "file/devices.toml"))
    with pytest.raises((OutputError, FileMissing)):
        inventory.add(KITCHEN)


def test_a_link_stays_one(tmp_path: Path) -> None:
    """A file that is a link (into a repository of settings) is replaced where it leads."""
    real = tmp_path / "real.toml"
    real.touch()
    path = inventory.path()
    path.parent.mkdir(parents=True)
    path.symlink_to(real)
    inventory.add(KITCHEN)
    assert path.is_symlink()
    assert "kitchen" in real.read_text()


def test_added_at_the_same_time() -> None:
    """Of several that add at once none is lost."""
    names = [f"d{number}" for number in range(8)]
    threads = [threading.Thread(target=inventory.add, args=(evolve(KITCHEN, name=name),)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(names) == inventory.load().keys()


def test_choice_by_target() -> None:
    """local and null have their own; else it is the only registered device of the target."""
    assert ("local", "fake") == (selection.choose("local"), selection.choose("null"))
    with pytest.raises(InvalidRequest, match="no device is registered") as caught:
        selection.choose("rpi4")
    assert "edge devices add" in str(caught.value)
    inventory.add(KITCHEN)
    assert "kitchen" == selection.choose("rpi4")
    with pytest.raises(InvalidRequest, match=r"kitchen \(rpi4\)"):
        selection.choose("rpi5")
    inventory.add(evolve(KITCHEN, name="hall"))
    with pytest.raises(InvalidRequest, match="several devices") as caught:
        selection.choose("rpi4")
    assert "kitchen, hall" == caught.value.got
    with pytest.raises(UnknownTarget):
        selection.choose("rpi44")


def test_a_board_file_is_a_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A board file is the same target however its path is written."""
    (tmp_path / "mine.toml").write_text((Path(__file__).parents[3] / "targets/boards/null.toml").read_text())
    monkeypatch.chdir(tmp_path)
    inventory.add(evolve(KITCHEN, target=selection.registered_target("./mine.toml")))
    assert os.sep == inventory.load()["kitchen"].target[0]
    assert "kitchen" == selection.choose("mine.toml")
    target = selection.open_device("kitchen").target
    assert target is not None
    assert "mine" == target.name


def test_found_by_name_and_by_address() -> None:
    """A registered device's settings hold when it is called by its address; others have no target."""
    inventory.add(KITCHEN)
    assert KITCHEN == selection.find("kitchen") == selection.find("ssh://pi@10.0.0.2")
    assert "" == selection.find("pi@10.0.0.9").target
    assert selection.open_device("pi@10.0.0.9").target is None
    with pytest.raises(InvalidRequest, match="Did you mean kitchen"):
        selection.find("kitchn")


def test_targets_of_devices() -> None:
    """Registered devices bring their target; several targets, an unknown one and another are refused."""
    inventory.add(KITCHEN)
    inventory.add(Entry("hall", "pi@10.0.0.3", "rpi5"))
    assert "rpi4" == selection.target_of(["kitchen"], "local")
    assert "local" == selection.target_of(["fake", "local"], "local")
    with pytest.raises(InvalidRequest, match="several targets"):
        selection.target_of(["kitchen", "hall"], "local")
    with pytest.raises(InvalidRequest, match="--target"):
        selection.target_of(["pi@10.0.0.9"], "local")
    with pytest.raises(InvalidRequest, match="another target"):
        selection.check_target("kitchen", "rpi5")
    for target in ("rpi4", "null"):
        selection.check_target("kitchen", target)
