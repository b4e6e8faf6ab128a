"""The agent's own memory."""

import re
from pathlib import Path

import pytest

from tests.device_agent.harness import AgentProcess, make_bundle, workers_of


def huge_pages(pid: int) -> str:
    """Whether a process may have huge pages, as the kernel says it."""
    found = re.search(r"^THP_enabled:\s+(\d)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if found is None:
        pytest.skip("this kernel does not say whether a process may have huge pages")
    return found[1]


def test_the_agent_does_without_huge_pages_and_its_workers_do_not(tmp_path: Path) -> None:
    """They would count in full for every 2 MiB that the agent touches anywhere; a model may have them."""
    with AgentProcess(tmp_path / "state") as agent:
        agent.client.push(bundle := make_bundle(tmp_path / "bundle"))
        agent.client.deploy(bundle)
        assert "0" == huge_pages(agent.process.pid)
        assert {"1"} == {huge_pages(pid) for pid in workers_of(agent)}
