"""The agent's routes: what a request asks for, as calls to the agent's parts. See `protocol` for the list."""

from __future__ import annotations

from starlette.requests import Request

from device_agent.agent import Agent


def agent_of(request: Request) -> Agent:
    """The agent that answers this request."""
    agent: Agent = request.app.state.agent
    return agent
