"""known_hosts files, without a server."""

import base64
import subprocess
from pathlib import Path

import pytest

from device_agent.errors import FileMissing, HostKeyRefused, InvalidRequest
from edge_sdk.devices import host_keys
from edge_sdk.devices.host_keys import PublicKey, check, lookup_name, parse_key, read


def key(seed: int, kind: str = "ssh-ed25519") -> PublicKey:
    """A key that is none of anybody's."""
    name = kind.encode()
    return PublicKey(kind, len(name).to_bytes(4, "big") + name + bytes([0, 0, 0, 32]) + bytes([seed]) * 32)


def known(tmp_path: Path, text: str) -> list[host_keys.KnownHost]:
    """The lines of a file with this text."""
    (tmp_path / "known_hosts").write_text(text)
    return read(tmp_path / "known_hosts")


@pytest.mark.parametrize(
    ("patterns", "name", "matches"),
    [
        ("pi", "pi", True),
        ("pi", "pi2", False),
        ("a,pi,b", "pi", True),
        ("PI", "pi", True),
        ("*.lan", "pi.lan", True),
        ("*.lan,!pi.lan", "pi.lan", False),
        ("!pi.lan,*.lan", "pi.lan", False),
        ("p?", "pi", True),
        ("[pi]:2222", "[pi]:2222", True),
        ("[pi]:2222", "pi", False),
        ("[pi]:2222", "p:2222", False),
        ("pi", "[pi]:2222", False),
        ("[*]:2222", "[pi]:2222", True),
        ("|1|broken", "pi", False),
    ],
)
def test_patterns(patterns: str, name: str, matches: bool, tmp_path: Path) -> None:
    """Names match as sshd(8) says, brackets with a port literally."""
    (entry,) = known(tmp_path, f"{patterns} {key(1)} a comment\n")
    assert matches == entry.matches(name)


def test_names() -> None:
    """A port that is not 22 stands in the name; names are lower case."""
    assert ("pi", "[pi]:2222", "[::1]:2222") == (
        lookup_name("PI", 22),
        lookup_name("Pi", 2222),
        lookup_name("::1", 2222),
    )


def test_lines_that_are_no_keys_are_left_out(tmp_path: Path) -> None:
    """Comments, empty, cut and broken lines count for nothing."""
    broken = base64.b64encode(b"\x00\x00\x00\x07ssh-rsaxxxx").decode()
    text = f"# {key(1)}\n\npi\npi ssh-ed25519\npi ssh-ed25519 !!!\npi ssh-ed25519 {broken}\n"
    assert [] == known(tmp_path, text)


def test_fingerprint_is_that_of_ssh_keygen(tmp_path: Path) -> None:
    """The fingerprint is what `ssh-keygen -l` prints."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"]
    subprocess.run(command, check=True)
    public = tmp_path / "key.pub"
    done = subprocess.run(["ssh-keygen", "-lf", public], capture_output=True, text=True, check=True)
    assert parse_key(public.read_text(), "key").fingerprint == done.stdout.split()[1]


def test_certificate_authorities_do_not_vouch(tmp_path: Path) -> None:
    """A line for certificates does not make a plain key known."""
    lines = known(tmp_path, f"@cert-authority * {key(1)}\n")
    with pytest.raises(HostKeyRefused, match="not known yet"):
        check(key(1), "pi", lines, where="pi", accept="x")


def test_a_key_of_another_type_is_a_change(tmp_path: Path) -> None:
    """A host that is known by a key of one type and shows one of another is refused as changed."""
    lines = known(tmp_path, f"pi {key(1)}\n")
    with pytest.raises(HostKeyRefused, match="changed"):
        check(key(1, "ssh-rsa"), "pi", lines, where="pi", accept="x")
    check(key(1), "pi", lines, where="pi", accept="x")
    assert ["ssh-ed25519"] == host_keys.known_types("pi", lines)


def test_a_pinned_key_is_the_only_one(tmp_path: Path) -> None:
    """With a pinned key known_hosts files add nothing but revocations."""
    file = tmp_path / "known_hosts"
    file.write_text(f"pi {key(1)}\n@revoked pi {key(3)}\n")
    lines = host_keys.read_all([file], None, key(2), "pi")
    check(key(2), "pi", lines, where="pi", accept="x")
    with pytest.raises(HostKeyRefused, match="changed"):
        check(key(1), "pi", lines, where="pi", accept="x")
    with pytest.raises(HostKeyRefused, match="revoked"):
        check(key(3), "pi", lines, where="pi", accept="x")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file is empty unless it was asked for; one that cannot be read is an error."""
    assert [] == read(tmp_path / "no")
    with pytest.raises(FileMissing):
        read(tmp_path / "no", must_exist=True)
    with pytest.raises(FileMissing, match="cannot be read"):
        read(tmp_path)


@pytest.mark.parametrize("text", ["", "ssh-ed25519", "ssh-ed25519 ???", "ssh-rsa " + str(key(1)).split()[1]])
def test_no_keys(text: str) -> None:
    """What is no public key is refused."""
    with pytest.raises(InvalidRequest, match="not a public key"):
        parse_key(text, "there")
