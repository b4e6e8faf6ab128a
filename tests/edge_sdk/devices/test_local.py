"""The agent of this machine: started on demand, shared, and gone afterwards."""

import os
import signal
import threading
from pathlib import Path

import pytest

from device_agent import home
from device_agent.errors import AgentUnreachable, DeviceError
from edge_sdk.devices.client import AgentClient
from edge_sdk.devices.lifecycle import find_agent, log_tail, start_agent, stop_agent
from edge_sdk.devices.transports.local import LocalTransport, ended


def pid_of(transport: LocalTransport) -> int:
    """The process of the agent that a transport reaches."""
    client = AgentClient(transport)
    try:
        return client.agent().pid
    finally:
        client.close()


def test_nothing_is_left_running(state: Path) -> None:
    """When `close` returns, the agent that was started is no process any more."""
    transport = LocalTransport(state)
    transport.open()
    pid = pid_of(transport)
    transport.close()
    assert ended(pid)


def test_hosts_share_an_agent(state: Path) -> None:
    """A second host uses the agent of the first, and keeps it after the first has gone."""
    first, second = LocalTransport(state), LocalTransport(state)
    first.open()
    second.open()
    pid = pid_of(first)
    first.close()
    assert pid == pid_of(second)
    second.close()
    assert ended(pid)


def test_hosts_that_start_at_once_use_one_agent(state: Path) -> None:
    """Of several starts at the same moment one wins; every host uses it, and it ends with the last."""
    transports = [LocalTransport(state) for _ in range(3)]
    failures: list[Exception] = []
    barrier = threading.Barrier(len(transports))

    def start(transport: LocalTransport) -> None:
        barrier.wait()
        try:
            transport.open()
        except DeviceError as e:
            failures.append(e)

    threads = [threading.Thread(target=start, args=(transport,)) for transport in transports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == failures
    pids = {pid_of(transport) for transport in transports}
    assert 1 == len(pids)
    closers = [threading.Thread(target=transport.close) for transport in transports]
    for thread in closers:
        thread.start()
    for thread in closers:
        thread.join()
    assert all(map(ended, pids))


def test_killed_agent_is_replaced(state: Path) -> None:
    """The socket that a killed agent leaves behind does not keep the next from starting."""
    transport = LocalTransport(state)
    transport.open()
    pid = pid_of(transport)
    os.kill(pid, signal.SIGKILL)
    transport.close()
    assert home.socket_path(state).exists()
    transport.open()
    assert pid != pid_of(transport)
    transport.close()


def test_lasting_agent_is_used_and_stays(state: Path) -> None:
    """An agent that was started to stay serves hosts without ending with them, until it is stopped."""
    info = start_agent()
    assert not info.on_demand
    transport = LocalTransport(state)
    transport.open()
    assert info.pid == pid_of(transport)
    transport.close()
    found = find_agent()
    assert found is not None
    assert info.pid == found.pid
    stopped = stop_agent()
    assert stopped is not None
    assert info.pid == stopped.pid
    assert ended(info.pid)
    assert find_agent() is None
    assert stop_agent() is None


def test_looking_starts_nothing(state: Path) -> None:
    """Dialling and looking for an agent start none, and leave the folder as it was."""
    with pytest.raises(AgentUnreachable, match="edge agent start"):
        LocalTransport(state).dial()
    assert find_agent() is None
    assert not state.exists()


def test_an_agent_that_cannot_start_says_why(state: Path) -> None:
    """The error of an agent that ends at once holds the end of its log."""
    state.mkdir(mode=0o700)
    (state / "lock").mkdir()
    with pytest.raises(AgentUnreachable, match="did not start") as caught:
        LocalTransport(state).open()
    assert "lock" in str(caught.value)
    (state / "lock").rmdir()


def test_state_folder_open_to_others_is_refused(state: Path) -> None:
    """A state folder that other users may enter is not used."""
    state.mkdir(mode=0o755)
    state.chmod(0o755)
    with pytest.raises(DeviceError, match="not private"):
        LocalTransport(state).open()


def test_long_state_folders_work(tmp_path: Path) -> None:
    """A folder whose path is too long for a socket's address works all the same."""
    transport = LocalTransport(tmp_path / ("long" * 40))
    transport.open()
    assert not ended(pid_of(transport))
    transport.close()


def test_log_is_kept(state: Path) -> None:
    """What an agent wrote can be read after it has ended; without one there is nothing."""
    assert (state / "agent.log", []) == log_tail(5)
    transport = LocalTransport(state)
    transport.open()
    transport.close()
    path, lines = log_tail(2)
    assert path == transport.log
    assert 2 == len(lines)
