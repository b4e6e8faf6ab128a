"""The command `edge-agent`, which runs on the device."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import device_agent
from device_agent.errors import EdgeError


def main(arguments: list[str] | None = None) -> None:
    """Run the command; exits with the error's `exit_code` (see `errors`)."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except EdgeError as e:
        print(f"edge-agent: {e}", file=sys.stderr)  # noqa: T201 - the command's own message
        sys.exit(e.exit_code)
    except BrokenPipeError:  # who read our output went away: nobody is left to tell
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-agent", description="Keeps models on this device, runs them and measures them."
    )
    parser.add_argument("--version", action="version", version=f"edge-agent {device_agent.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--state-dir", type=Path, help="default: EDGE_AGENT_STATE, or edge-agent under XDG_STATE_HOME"
    )
    common.add_argument("--socket", type=Path, help="default: agent.sock in the state folder")

    serve = commands.add_parser("serve", parents=[common], help="answer on the Unix socket")
    serve.add_argument("--on-demand", action="store_true", help="end once nobody holds a lease any more")
    serve.set_defaults(run=_serve)
    describe = commands.add_parser("describe", parents=[common], help="print what this machine is")
    describe.add_argument("--json", action="store_true", help="as the protocol's AgentInfo")
    describe.set_defaults(run=_describe)
    connect = commands.add_parser("connect", parents=[common], help="carry stdin and stdout to the socket")
    connect.set_defaults(run=_connect)
    status = commands.add_parser("status", parents=[common], help="ask the running agent what it is")
    status.set_defaults(run=_status)
    release = commands.add_parser("release", parents=[common], help="for `edge devices install`")
    release.add_argument("step", choices=["add", "try", "activate", "settle", "prune"])
    release.add_argument("--root", type=Path, default=Path(), help="the folder that releases are in")
    release.add_argument("--staging", type=Path, default=Path(), help="add: what was copied here")
    release.add_argument("--id", default="", help="try, activate: the release")
    release.add_argument("--seconds", type=int, default=60, help="try: how long it may take to prove itself")
    release.set_defaults(run=_release)
    return parser


def _state_dir(options: argparse.Namespace) -> Path:
    from device_agent import home

    chosen: Path | None = options.state_dir
    return chosen.absolute() if chosen is not None else home.default_state_dir()


def _serve(options: argparse.Namespace) -> None:
    from device_agent.frugal import frugal

    frugal()
    from device_agent import log, server

    log.to_stderr()
    server.serve(_state_dir(options), listening=options.socket, on_demand=options.on_demand)


def _describe(options: argparse.Namespace) -> None:
    from device_agent import codec, system

    info = system.describe(_state_dir(options), on_demand=False)
    if options.json:
        print(codec.dumps(info))  # noqa: T201 - the command's output
        return
    for key, value in codec.to_json(info).items():
        print(f"{key}: {value}")  # noqa: T201 - the command's output


def _connect(options: argparse.Namespace) -> None:
    from device_agent import bridge, home

    bridge.connect(options.socket or home.socket_path(_state_dir(options)))


def _status(options: argparse.Namespace) -> None:
    from device_agent import codec, home, status

    info = status.ask(options.socket or home.socket_path(_state_dir(options)))
    print(codec.dumps(info))  # noqa: T201 - the command's output


def _release(options: argparse.Namespace) -> None:
    from device_agent import releases

    root, state = options.root.absolute(), _state_dir(options)
    if options.step == "add":
        print(releases.add(root, options.staging.absolute()))  # noqa: T201 - the command's output
    elif options.step == "try":
        releases.try_out(root, state, options.id, options.seconds)
    elif options.step == "activate":
        releases.activate(root, options.id)
    elif options.step == "settle":
        releases.settle(state)
    else:
        releases.prune(root)


if __name__ == "__main__":
    main()
