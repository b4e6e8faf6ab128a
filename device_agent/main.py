"""The command `edge-agent`, which runs on the device."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import device_agent
from device_agent.errors import EdgeError, InvalidRequest

MAX_KEY_CHARACTERS = 16 << 10


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
    serve.add_argument("--group", help="let the members of this group use the socket too")
    serve.add_argument("--accept-unsigned", action="store_true", help="although there are signers: dangerous")
    serve.add_argument("--tls", metavar="IP:PORT", help="listen there too, for clients with a certificate")
    serve.add_argument("--tls-cert", type=Path, metavar="FILE", help="PEM: the agent's certificate")
    serve.add_argument("--tls-key", type=Path, metavar="FILE", help="PEM: its private key")
    serve.add_argument("--tls-client-ca", type=Path, metavar="FILE", help="PEM: the CA of the clients")
    serve.set_defaults(run=_serve)
    signers = commands.add_parser("signers", parents=[common], help="who may sign for this device")
    signers.add_argument("step", choices=["list", "add", "revoke"])
    signers.add_argument(
        "key",
        nargs="?",
        default="-",
        help="add: a .pub file's line; - reads stdin. revoke: a name, a fingerprint or such a line",
    )
    signers.add_argument("--name", help="add: what to call the signer; the key's comment by default")
    signers.set_defaults(run=_signers)
    identity = commands.add_parser("identity", parents=[common], help="print which device this is")
    identity.add_argument("--target", help="first tell it which board it is")
    identity.set_defaults(run=_identity)
    describe = commands.add_parser("describe", parents=[common], help="print what this machine is")
    describe.add_argument("--json", action="store_true", help="as the protocol's AgentInfo")
    describe.set_defaults(run=_describe)
    connect = commands.add_parser("connect", parents=[common], help="carry stdin and stdout to the socket")
    connect.set_defaults(run=_connect)
    status = commands.add_parser("status", parents=[common], help="ask the running agent what it is")
    status.set_defaults(run=_status)
    worker = commands.add_parser("worker", help="for systemd, with the agent's connection as stdin")
    worker.set_defaults(run=_worker)
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
    from device_agent import log, network, peers, server

    log.to_stderr()
    files = (options.tls_cert, options.tls_key, options.tls_client_ca)
    if options.tls is None and any(file is not None for file in files):
        raise InvalidRequest("TLS files without an address to listen on", expected="--tls IP:PORT")
    chosen = server.Options(
        listening=options.socket,
        on_demand=options.on_demand,
        group=None if options.group is None else peers.group_id(options.group),
        tls=None if options.tls is None else network.settings(options.tls, *files),
        accept_unsigned=options.accept_unsigned,
    )
    server.serve(_state_dir(options), chosen)


def _signers(options: argparse.Namespace) -> None:
    from device_agent import codec, signers

    state, key = _state_dir(options), options.key
    if options.step != "list" and key == "-":
        key = sys.stdin.read(MAX_KEY_CHARACTERS)
    if options.step == "add":
        signers.add(state, key, options.name)
    elif options.step == "revoke":
        signers.revoke(state, key)
    print(codec.dumps(signers.load(state).rows()))  # noqa: T201 - the command's output


def _identity(options: argparse.Namespace) -> None:
    from device_agent import codec, identity

    state = _state_dir(options)
    if options.target is not None:
        identity.set_target(state, options.target)
    print(codec.dumps(identity.find(state)))  # noqa: T201 - the command's output


def _describe(options: argparse.Namespace) -> None:
    from device_agent import codec, system, trust

    state = _state_dir(options)
    info = system.describe(state, on_demand=False, trust=trust.describe(state))
    if options.json:
        print(codec.dumps(info))  # noqa: T201 - the command's output
        return
    for key, value in codec.to_json(info).items():
        print(f"{key}: {value}")  # noqa: T201 - the command's output


def _connect(options: argparse.Namespace) -> None:
    from device_agent import bridge, home

    bridge.connect(options.socket or home.socket_path(_state_dir(options)))


def _worker(_: argparse.Namespace) -> None:
    from device_agent import keeper

    keeper.main()


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
