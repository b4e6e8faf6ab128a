"""~/.ssh/config, and the addresses that it is asked for."""

import getpass
from pathlib import Path

import pytest

from device_agent.errors import FileMissing, InvalidRequest
from edge_sdk.devices import addresses
from edge_sdk.devices.addresses import SshAddress
from edge_sdk.devices.ssh_config import way_to


def way(home: Path, text: str, address: str) -> list[str]:
    """The hops to an address with this configuration."""
    (home / ".ssh/config").write_text(text)
    return [str(hop) for hop in way_to(addresses.parse(address))]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("pi@rpi4.local", SshAddress("rpi4.local", "pi")),
        ("pi@rpi4:2222", SshAddress("rpi4", "pi", 2222)),
        ("ssh://pi@rpi4:22", SshAddress("rpi4", "pi", 22)),
        ("ssh://rpi4/", SshAddress("rpi4")),
        ("rpi4", SshAddress("rpi4")),
        ("pi@[fe80::1%eth0]:22", SshAddress("fe80::1%eth0", "pi", 22)),
        ("pi@[::1]", SshAddress("::1", "pi")),
        ("me@corp@rpi4", SshAddress("rpi4", "me@corp")),
    ],
)
def test_addresses(text: str, address: SshAddress) -> None:
    """Every form of an address, and the short one back."""
    assert address == addresses.parse(text)
    assert address == addresses.parse(str(address))


@pytest.mark.parametrize(
    "text",
    ["", "@", "pi@", "@host", "-oProxyCommand=x", "pi@-x", "a b", "pi@h:0", "pi@h:65536", "pi@h:x", "pi@::1",
     "pi@h;x", "pi@$(x)", "-x@h", "ssh://", "pi@[x]"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    """Anything else is refused, above all what another program could take for an option."""
    with pytest.raises(InvalidRequest, match="not an SSH address"):
        addresses.parse(text)


def test_without_a_configuration() -> None:
    """Without a file the address stands for itself, with the user's own name and port 22."""
    (hop,) = way_to(SshAddress("pi.lan"))
    assert (f"{getpass.getuser()}@pi.lan", "pi.lan") == (str(hop), hop.known_as)
    assert ["id_ed25519", "id_ecdsa", "id_rsa"] == [path.name for path in hop.identities]


def test_the_address_wins_over_the_file(own_settings: Path) -> None:
    """HostName, User and Port are the file's, unless the address says more."""
    text = "Host kitchen\n  HostName 10.0.0.2\n  User pi\n  Port 2200\n  IdentityFile ~/.ssh/kitchen\n"
    assert ["pi@[10.0.0.2]:2200"] == way(own_settings, text, "kitchen")
    assert ["root@[10.0.0.2]:2222"] == way(own_settings, text, "root@kitchen:2222")
    (hop,) = way_to(SshAddress("kitchen"))
    assert (own_settings / ".ssh/kitchen",) == hop.identities


def test_jumps(own_settings: Path) -> None:
    """ProxyJump goes over several hosts, each with its own settings; `none` goes over none."""
    text = (
        "Host a\n  HostName 10.0.0.1\n  User ua\n  ProxyJump z\n"
        "Host b\n  User ub\n  ProxyJump elsewhere\n"
        "Host one\n  ProxyJump a,b:23\n"
        "Host direct\n  ProxyJump none\n"
        "Host *\n  User u\n"
    )
    assert ["u@z", "ua@10.0.0.1", "ub@[b]:23", "u@one"] == way(own_settings, text, "one")
    assert ["u@direct"] == way(own_settings, text, "direct")


def test_jumps_in_a_circle(own_settings: Path) -> None:
    """Hosts that jump over each other are an error, not an endless loop."""
    with pytest.raises(InvalidRequest, match="circle"):
        way(own_settings, "Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n", "a")


def test_the_first_of_jump_and_command_wins(own_settings: Path) -> None:
    """Of ProxyJump and ProxyCommand the one that stands first holds."""
    (own_settings / ".ssh/config").write_text("Host a\n  ProxyCommand nc %h %p\n  ProxyJump b\n")
    (hop,) = way_to(SshAddress("a", port=24))
    assert "nc a 22" == hop.proxy_command
    assert 2 == len(way(own_settings, "Host a\n  ProxyJump b\n  ProxyCommand nc %h %p\n", "a"))


def test_included_files(own_settings: Path) -> None:
    """Include is followed, and the block around it goes on afterwards."""
    (own_settings / ".ssh/more").mkdir()
    (own_settings / ".ssh/more/x.conf").write_text("Host other\n  User wrong\n")
    (own_settings / ".ssh/more/y.conf").write_text("Host kitchen\n  Port 2200\n")
    text = "Host kitchen\n  Include more/*.conf\n  User pi\n"
    assert ["pi@[kitchen]:2200"] == way(own_settings, text, "kitchen")
    with pytest.raises(InvalidRequest, match="Include"):
        way(own_settings, "Include config\n", "x")


@pytest.mark.parametrize("text", ["Host\n", "Host a\n  Port x\n", "Host a\n  Port 0\n", "Match nosuch\n"])
def test_nonsense_names_the_file(text: str, own_settings: Path) -> None:
    """A file that makes no sense is named."""
    with pytest.raises(InvalidRequest) as caught:
        way(own_settings, text, "a")
    assert str(own_settings / ".ssh/config") == caught.value.where


def test_a_file_that_cannot_be_read(own_settings: Path) -> None:
    """A configuration that is there and cannot be read is an error."""
    (own_settings / ".ssh/config").mkdir()
    with pytest.raises(FileMissing):
        way_to(SshAddress("x"))
