"""`SshConnection`: an authenticated SSH connection to a device, over as many hops as it takes."""

from __future__ import annotations

import logging
import shlex
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from device_agent.errors import AgentUnreachable, EdgeError
from device_agent.sshsig import PublicKey
from edge_sdk.devices import host_keys, proxy, sftp, ssh_config
from edge_sdk.devices.addresses import SshAddress
from edge_sdk.devices.remote import Completed
from edge_sdk.devices.ssh_config import Hop
from edge_sdk.devices.ssh_errors import explain, mapped
from edge_sdk.devices.ssh_keys import MAX_TRIES, Ask, KeyRing, ask_for_passphrase

if TYPE_CHECKING:
    import paramiko

CONNECT_TIMEOUT_S = 15.0  # for each step of reaching a host: TCP, banner, key exchange, authentication
CHANNEL_TIMEOUT_S = 30.0
KEEPALIVE_S = 15  # a firewall forgets connections that are silent for minutes
SILENCE_MS = 45_000  # what was sent and not acknowledged for so long means that the peer is gone, tcp(7)
WINDOW_BYTES = 1 << 24  # what a peer may send before we have read it
PACKET_BYTES = 1 << 15  # the most that sshd takes
READ_BYTES = 1 << 16
# ciphers that cost one pass over the data come first; paramiko would take CTR and a separate MAC
FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")


@frozen
class SshSettings:
    """How to reach a device over SSH.

    Args:
        address: where it is.
        name: what to call it in messages.
        identity: the only key to use; the user's usual ones if None.
        known_hosts: a file to read beside the user's.
        host_key: the only key the device may show; known_hosts files decide if None.
        config: ~/.ssh/config if None.
        accept: the command that accepts a host key that is not known, with `{fingerprint}` in it.
    """

    address: SshAddress
    name: str
    identity: Path | None = None
    known_hosts: Path | None = None
    host_key: PublicKey | None = None
    config: Path | None = None
    accept: str = "`edge devices add NAME ADDRESS --target TARGET --accept-key {fingerprint}`."


class SshConnection:
    """Connects on first use, and again after the connection was lost; a `Remote`.

    Safe for use from several threads. Every error of the way is an AgentUnreachable, an unknown or changed
    host key HostKeyRefused; nothing is sent to a host whose key was not found right.

    Args:
        settings: how to reach the device.
        ask: gives the passphrase of a key file.
    """

    def __init__(self, settings: SshSettings, ask: Ask = ask_for_passphrase) -> None:
        self.address = settings.name
        self._settings = settings
        self._keys = KeyRing(settings.identity, ask)
        self._lock = threading.RLock()
        self._transports: list[paramiko.Transport] = []  # one a hop, the device's last
        self.login_key: str | None = None  # the public key that the device let in, once connected

    @property
    def alive(self) -> bool:
        """Whether it is connected, as far as is known."""
        return bool(self._transports) and all(transport.is_active() for transport in self._transports)

    def connect(self) -> None:
        """Connect unless it is connected.

        Raises:
            HostKeyRefused: a host on the way is not known by the key it shows.
            AgentUnreachable: any other failure on the way.
        """
        with self._lock:
            if not self.alive:
                self.close()
                self._transports = self._reach(authenticate=True)

    def host_key(self) -> PublicKey:
        """The key that the device shows, unchecked; jump hosts must be known, the device need not be."""
        transports = self._reach(authenticate=False)
        try:
            return _shown_key(transports[-1])
        finally:
            _close_all(transports)

    def check_host_key(self) -> PublicKey:
        """The key that the device shows; HostKeyRefused unless it is known by it."""
        shown = self.host_key()
        self._check(shown, self.way()[-1], last=True, where=self.address)
        return shown

    def refuse_changed(self, shown: PublicKey) -> None:
        """HostKeyRefused if the device is known by another key than this one, or it is revoked."""
        hop = self.way()[-1]
        known = self._known(hop, last=True)
        if any(entry.matches(hop.known_as) and entry.marker in {"", host_keys.REVOKED} for entry in known):
            self._check(shown, hop, last=True, where=self.address)

    def way(self) -> tuple[Hop, ...]:
        """The hops to the device, itself last; contacts nothing."""
        return ssh_config.way_to(self._settings.address, self._settings.config)

    def open_session(self) -> paramiko.Channel:
        """A new session channel, connecting first where needed.

        Raises:
            AgentUnreachable: it cannot be connected, or the server opens no further channel.
        """
        self.connect()
        with mapped(self.address):
            return self._transports[-1].open_session(WINDOW_BYTES, PACKET_BYTES, timeout=CHANNEL_TIMEOUT_S)

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 60.0) -> Completed:
        """Run a command, every argument quoted for a POSIX shell, and wait for it."""
        deadline = time.monotonic() + timeout_s
        channel = self.open_session()
        out: list[bytes] = []
        err: list[bytes] = []
        with mapped(self.address), channel:
            channel.exec_command(shlex.join(command))
            readers = [
                _collect(channel.recv, out),
                _collect(channel.recv_stderr, err),
            ]
            channel.settimeout(timeout_s)
            with suppress(OSError):  # it ended without reading all: its status says what that means
                channel.sendall(stdin)
                channel.shutdown_write()
            channel.settimeout(None)
            for reader in readers:
                reader.join(max(0.0, deadline - time.monotonic()))
            if any(reader.is_alive() for reader in readers):
                raise AgentUnreachable(
                    "a command on the device did not end in time",
                    where=self.address,
                    got=f"{shlex.join(command)[:200]} after {timeout_s:g} s",
                )
            if not channel.status_event.wait(max(1.0, deadline - time.monotonic())) or not self.alive:
                raise AgentUnreachable(
                    "the SSH connection broke while a command ran",
                    where=self.address,
                    got=shlex.join(command)[:200],
                )
            return Completed(channel.recv_exit_status(), b"".join(out), b"".join(err))

    def put(self, source: Path, destination: str, *, mode: int, progress: Callable[[int, int], None]) -> None:
        """Copy a file there whole and synced, or not at all; see `Remote.put`."""
        self.connect()
        sftp.put(self, self._transports[-1], source, destination, mode=mode, progress=progress)

    def close(self) -> None:
        """End the connection. May be called twice."""
        with self._lock:
            transports, self._transports = self._transports, []
            _close_all(transports)
            self._keys.close()

    def _reach(self, *, authenticate: bool) -> list[paramiko.Transport]:
        """A transport for each hop; the last one is left before its key is checked if not `authenticate`."""
        hops = self.way()
        with ExitStack() as stack:
            transports: list[paramiko.Transport] = []
            stack.callback(_close_all, transports)
            for hop in hops:
                last = hop is hops[-1]
                where = self.address if last else f"{self.address}, jump host {hop}"
                with mapped(where):
                    wanted = host_keys.known_types(hop.known_as, self._known(hop, last=last))
                    transport = _shake_hands(self._socket(hop, transports), wanted)
                transports.append(transport)
                if last and not authenticate:
                    break
                self._check(_shown_key(transport), hop, last=last, where=where)
                self._authenticate(transport, hop, last=last, where=where)
                transport.set_keepalive(KEEPALIVE_S)
            stack.pop_all()
        return transports

    def _check(self, shown: PublicKey, hop: Hop, *, last: bool, where: str) -> None:
        accept = self._settings.accept if last else f"`ssh -p {hop.port} {hop.user}@{hop.host}`, once."
        known = self._known(hop, last=last)
        host_keys.check(shown, hop.known_as, known, where=where, accept=accept)

    def _known(self, hop: Hop, *, last: bool) -> list[host_keys.KnownHost]:
        pinned = self._settings.host_key if last else None
        return host_keys.read_all(hop.known_hosts, self._settings.known_hosts, pinned, hop.known_as)

    def _socket(self, hop: Hop, transports: list[paramiko.Transport]) -> socket.socket | paramiko.Channel:
        if transports:
            target, origin = (hop.host, hop.port), ("127.0.0.1", 0)
            return transports[-1].open_channel(
                "direct-tcpip", target, origin, WINDOW_BYTES, PACKET_BYTES, CONNECT_TIMEOUT_S
            )
        if hop.proxy_command is not None:
            return proxy.start(hop.proxy_command)
        sock = socket.create_connection((hop.host, hop.port), CONNECT_TIMEOUT_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; elsewhere the kernel's own patience holds
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_MS)
        return sock

    def _authenticate(self, transport: paramiko.Transport, hop: Hop, *, last: bool, where: str) -> None:
        import paramiko

        offered: list[str] = []
        for label, key in self._keys.offers(hop, last=last):
            offered.append(label)
            try:
                further = transport.auth_publickey(hop.user, key)
            except (paramiko.BadAuthenticationType, paramiko.PasswordRequiredException) as e:
                raise explain(e, where) from e
            except paramiko.AuthenticationException as e:
                if len(offered) == MAX_TRIES or not transport.is_active():
                    raise _refused(hop, where, offered) from e
                continue
            except (paramiko.SSHException, EOFError, OSError) as e:
                raise explain(e, where) from e
            if further:
                raise explain(paramiko.ssh_exception.PartialAuthentication(further), where)
            if last:
                self.login_key = f"{key.get_name()} {key.get_base64()}"
            return
        raise _refused(hop, where, offered)


def _shake_hands(sock: socket.socket | paramiko.Channel, known_types: list[str]) -> paramiko.Transport:
    """Exchange keys with a server, which is not trusted yet; it is asked for keys of known types first."""
    import paramiko

    # without a handler Python prints paramiko's log beside our own message of the same error
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    try:
        transport = paramiko.Transport(sock, WINDOW_BYTES, PACKET_BYTES)
    except BaseException:
        sock.close()
        raise
    try:
        transport.banner_timeout = transport.handshake_timeout = CONNECT_TIMEOUT_S
        transport.auth_timeout = CONNECT_TIMEOUT_S
        options = transport.get_security_options()
        options.ciphers = [*FAST_CIPHERS, *(name for name in options.ciphers if name not in FAST_CIPHERS)]
        wanted = _algorithms(known_types)
        # sorted by whether it is known by such a key: a server with several must show one of those
        options.key_types = sorted(options.key_types, key=lambda name: name not in wanted)
        transport.start_client(timeout=CONNECT_TIMEOUT_S)
        transport.get_remote_server_key()  # raises where the time was too short
    except BaseException:
        transport.close()
        raise
    return transport


def _algorithms(types: list[str]) -> set[str]:
    """The signature algorithms of key types: an RSA key signs with two (RFC 8332)."""
    return {*types, "rsa-sha2-512", "rsa-sha2-256"} if "ssh-rsa" in types else set(types)


def _shown_key(transport: paramiko.Transport) -> PublicKey:
    key = transport.get_remote_server_key()
    return PublicKey(key.get_name(), key.asbytes())


def _refused(hop: Hop, where: str, offered: list[str]) -> EdgeError:
    import paramiko

    error = explain(paramiko.AuthenticationException(), where)
    error.got = f"user {hop.user} with {', '.join(offered) if offered else 'no key at all'}"
    return error


def _close_all(transports: list[paramiko.Transport]) -> None:
    for transport in reversed(transports):
        transport.close()


def _collect(read: Callable[[int], bytes], into: list[bytes]) -> threading.Thread:
    """Read to the end in a thread of its own: a full window of one stream must not block the other."""

    def run() -> None:
        with suppress(EOFError, OSError):  # the connection is gone, which its other user sees
            while piece := read(READ_BYTES):
                into.append(piece)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread
