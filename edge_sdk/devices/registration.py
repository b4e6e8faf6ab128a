"""Accept a device's host key: by its fingerprint, which the user has compared."""

from __future__ import annotations

from attrs import evolve

from device_agent.errors import HostKeyRefused
from device_agent.sshsig import PublicKey
from edge_sdk.devices import inventory, selection
from edge_sdk.devices.inventory import Entry
from edge_sdk.devices.ssh import SshConnection


def accepted_key(entry: Entry, fingerprint: str) -> PublicKey:
    """The key that a device shows, if it has the fingerprint that the user gave; nothing is sent to it.

    Args:
        entry: the device; a key that it has pinned already must be the one it shows.
        fingerprint: `SHA256:` and base64, as `ssh-keygen -l` prints it.

    Raises:
        HostKeyRefused: it shows another key, or is known by another.
        AgentUnreachable: it cannot be reached.
    """
    before = inventory.load().get(entry.name)
    if before is not None and before.address == entry.address and entry.host_key is None:
        entry = evolve(entry, host_key=before.host_key)
    connection = SshConnection(selection.ssh_settings(entry))
    try:
        shown = connection.host_key()
        connection.refuse_changed(shown)
    finally:
        connection.close()
    if shown.fingerprint != fingerprint.strip().rstrip("="):
        raise HostKeyRefused(
            "the host shows another key than the one to accept",
            where=entry.name,
            got=f"{shown.type} {shown.fingerprint}",
            expected=fingerprint,
            next_step="Compare it with the device's own (there: `ssh-keygen -lf "
            "/etc/ssh/ssh_host_ed25519_key.pub`); nothing was recorded.",
        )
    return shown
