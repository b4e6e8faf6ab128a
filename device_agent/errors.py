"""Every error the SDK and the agent raise, as one tree.

Each class has a `code` (its name on the wire and in `--json` output) and an `exit_code` (of the
`edge` command). Both are API: they are documented in docs/errors.md and never change meaning.

    EdgeError                     edge_error             1
    ├── InvalidRequest            invalid_request        2   (also a ValueError)
    ├── FileMissing               file_missing           3   (also a FileNotFoundError)
    ├── InvalidModel              invalid_model          4   (also a ValueError)
    ├── UnsupportedOperator       unsupported_operator   5
    ├── CalibrationError          calibration            6   (also a ValueError)
    ├── UnknownTarget             unknown_target         7   (also a KeyError)
    ├── InvalidTarget             invalid_target         8   (also a ValueError)
    ├── FidelityError             fidelity               9
    ├── MissingDependency         missing_dependency    10   (also an ImportError)
    ├── InvalidBundle             invalid_bundle        11   (also a ValueError)
    ├── OutputError               output                12   (also an OSError)
    ├── QuantizationError         quantization          13
    ├── MetricError               metric                14
    ├── AccuracyMissed            accuracy_missed       15
    ├── BudgetExceeded            budget_exceeded       16
    ├── DiscoveryError            discovery             41
    └── DeviceError               device_error          20
        ├── AgentUnreachable      agent_unreachable     21   (also a ConnectionError)
        │   └── HostKeyRefused    host_key              40
        ├── ProtocolError         protocol              22
        ├── DiskFull              disk_full             23   (also an OSError)
        ├── DeploymentConflict    conflict              24
        ├── ActivationFailed      activation_failed     25
        │   └── ActivationOverdue activation_overdue    31
        ├── UnknownModel          unknown_model         26   (also a KeyError)
        ├── WorkerFailed          worker_failed         27
        ├── RuntimeMissing        runtime_missing       28
        ├── UploadError           upload                29
        ├── NothingToRollBack     nothing_to_roll_back  30
        ├── DeviceUnsuitable      unsuitable_device     36
        ├── Unsigned              unsigned              50
        ├── UntrustedSigner       untrusted_signer      51
        ├── RevokedKey            revoked_key           52
        ├── BadSignature          bad_signature         53
        ├── WrongModel            wrong_model           54
        ├── WrongDevice           wrong_device          55
        ├── ReplayedGeneration    replayed_generation   56
        ├── AgentTooOld           agent_too_old         57
        ├── RuntimeTooOld         runtime_too_old       58
        ├── PeerRefused           peer_refused          59
        ├── Overloaded            overloaded            60
        └── DeadlineExceeded      deadline_exceeded     61   (also a TimeoutError)
"""

from __future__ import annotations

import json
from typing import Any, ClassVar


class EdgeError(Exception):
    """Something the user can act on: what happened, where, got and expected, and the next step.

    Args:
        what: one clause saying what went wrong.
        where: the file, node, tensor, key or device it went wrong at.
        got: what was found.
        expected: what would have been right.
        next_step: what the user can do now; a command where there is one.
    """

    code: ClassVar[str] = "edge_error"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        got: str | None = None,
        expected: str | None = None,
        next_step: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.got = got
        self.expected = expected
        self.next_step = next_step

    def __str__(self) -> str:
        """One paragraph: where, what, got and expected, next step."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.got is not None and self.expected is not None:
            text += f": got {self.got}, expected {self.expected}"
        elif self.got is not None:
            text += f": got {self.got}"
        elif self.expected is not None:
            text += f": expected {self.expected}"
        if not text.endswith((".", "!", "?")):
            text += "."
        return f"{text} {self.next_step}" if self.next_step else text

    def to_json(self) -> dict[str, Any]:
        """The error as it stands on the wire and in `--json` output; `error` is the whole paragraph."""
        body: dict[str, Any] = {"error": str(self), "code": self.code, "what": self.what}
        for key in ("where", "got", "expected", "next_step"):
            value = getattr(self, key)
            if value is not None:
                body[key] = value
        return body


class InvalidRequest(EdgeError, ValueError):
    """An argument, option or request body that makes no sense."""

    code, exit_code, http_status = "invalid_request", 2, 400


class FileMissing(EdgeError, FileNotFoundError):
    """A file the user named is not there."""

    code, exit_code, http_status = "file_missing", 3, 404


class InvalidModel(EdgeError, ValueError):
    """A model file that is truncated, corrupt, or of another format than its name says."""

    code, exit_code, http_status = "invalid_model", 4, 422


class UnsupportedOperator(EdgeError):
    """The model holds an operator (or an attribute of one) that cannot be lowered yet."""

    code, exit_code, http_status = "unsupported_operator", 5, 422


class CalibrationError(EdgeError, ValueError):
    """Calibration data that is absent, or of the wrong name, shape, dtype or content."""

    code, exit_code, http_status = "calibration", 6, 422


class UnknownTarget(EdgeError, KeyError):
    """No board of that name."""

    code, exit_code, http_status = "unknown_target", 7, 404
    __str__ = EdgeError.__str__  # KeyError would print the repr of its argument


class InvalidTarget(EdgeError, ValueError):
    """A board file with an unknown key, a missing one, or a value that contradicts another."""

    code, exit_code, http_status = "invalid_target", 8, 422


class FidelityError(EdgeError):
    """The converted model does not compute what the source model computes."""

    code, exit_code, http_status = "fidelity", 9, 422


class MissingDependency(EdgeError, ImportError):
    """An optional package that this road needs is not installed."""

    code, exit_code, http_status = "missing_dependency", 10, 501


class InvalidBundle(EdgeError, ValueError):
    """A bundle whose layout, manifest or digests are wrong."""

    code, exit_code, http_status = "invalid_bundle", 11, 422


class OutputError(EdgeError, OSError):
    """A result could not be written on the host."""

    code, exit_code, http_status = "output", 12, 500


class QuantizationError(EdgeError):
    """The model cannot be quantised as asked."""

    code, exit_code, http_status = "quantization", 13, 422


class MetricError(EdgeError):
    """A metric cannot judge the model: outputs or labels do not fit it, it fails, or it gives NaN."""

    code, exit_code, http_status = "metric", 14, 422


class AccuracyMissed(EdgeError):
    """No candidate keeps the accuracy that was asked for; the best one found is kept, nothing is deployed.

    `best` is the conversion that came nearest, None on the wire. A command that has made a report of it puts
    its JSON in `report`.
    """

    code, exit_code, http_status = "accuracy_missed", 15, 422
    best: Any = None
    report: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The error, and the report under `report` where there is one."""
        body = super().to_json()
        return body if self.report is None else {**body, "report": self.report}


class BudgetExceeded(EdgeError):
    """The work does not fit the memory it may use."""

    code, exit_code, http_status = "budget_exceeded", 16, 507


class DiscoveryError(EdgeError):
    """The local network cannot be asked who is there."""

    code, exit_code, http_status = "discovery", 41, 500


class DeviceError(EdgeError):
    """Anything that went wrong on the device or on the way to it."""

    code, exit_code, http_status = "device_error", 20, 500


class AgentUnreachable(DeviceError, ConnectionError):
    """No agent answers on the device."""

    code, exit_code, http_status = "agent_unreachable", 21, 503


class HostKeyRefused(AgentUnreachable):
    """The device's SSH host key is unknown, has changed or is revoked; nothing was sent to it."""

    code, exit_code, http_status = "host_key", 40, 502


class ProtocolError(DeviceError):
    """Agent and host do not speak the same protocol, or an answer made no sense."""

    code, exit_code, http_status = "protocol", 22, 502


class DiskFull(DeviceError, OSError):
    """The device has no room for what was sent; the active model is untouched."""

    code, exit_code, http_status = "disk_full", 23, 507


class DeploymentConflict(DeviceError):
    """Another deployment, rollback, removal or comparison of the same model is under way."""

    code, exit_code, http_status = "conflict", 24, 409


class ActivationFailed(DeviceError):
    """The new generation failed its preflight or probe; the one before it stays active."""

    code, exit_code, http_status = "activation_failed", 25, 422


class ActivationOverdue(ActivationFailed):
    """A state of the activation machine did not end in its time; what was active before still is."""

    code, exit_code, http_status = "activation_overdue", 31, 504


class UnknownModel(DeviceError, KeyError):
    """No model of that name is deployed on the device."""

    code, exit_code, http_status = "unknown_model", 26, 404
    __str__ = EdgeError.__str__


class WorkerFailed(DeviceError):
    """The worker process of a model crashed, hung or could not load it."""

    code, exit_code, http_status = "worker_failed", 27, 500


class RuntimeMissing(DeviceError):
    """The runtime a bundle needs is not installed on the device, or is too old."""

    code, exit_code, http_status = "runtime_missing", 28, 422


class UploadError(DeviceError):
    """A chunk or a finished blob did not have the digest or offset it should have."""

    code, exit_code, http_status = "upload", 29, 409


class NothingToRollBack(DeviceError):
    """The model has no earlier generation to go back to."""

    code, exit_code, http_status = "nothing_to_roll_back", 30, 409


class DeviceUnsuitable(DeviceError):
    """The device lacks what the agent or a runtime needs; every reason is named, nothing was changed."""

    code, exit_code, http_status = "unsuitable_device", 36, 422


class Unsigned(DeviceError):
    """The device takes signed bundles only, and this one is not."""

    code, exit_code, http_status = "unsigned", 50, 403


class UntrustedSigner(DeviceError):
    """A key that is not among the device's signers, or that cannot be one."""

    code, exit_code, http_status = "untrusted_signer", 51, 403


class RevokedKey(DeviceError):
    """A key that the device was told to trust no more."""

    code, exit_code, http_status = "revoked_key", 52, 403


class BadSignature(DeviceError):
    """The signature does not fit what it comes with, or is none."""

    code, exit_code, http_status = "bad_signature", 53, 403


class WrongModel(DeviceError):
    """Signed for a deployment of another name."""

    code, exit_code, http_status = "wrong_model", 54, 403


class WrongDevice(DeviceError):
    """Signed for other devices or boards."""

    code, exit_code, http_status = "wrong_device", 55, 403


class ReplayedGeneration(DeviceError):
    """Signed with a generation that is not above the highest that the device has accepted."""

    code, exit_code, http_status = "replayed_generation", 56, 409


class AgentTooOld(DeviceError):
    """The signer asks for a later version of the agent."""

    code, exit_code, http_status = "agent_too_old", 57, 422


class RuntimeTooOld(DeviceError):
    """The signer asks for a later version of a runtime."""

    code, exit_code, http_status = "runtime_too_old", 58, 422


class PeerRefused(DeviceError):
    """Who asks may not: another user on the device's socket, or a route that is not open to the network."""

    code, exit_code, http_status = "peer_refused", 59, 403


class Overloaded(DeviceError):
    """The device answers as many requests as it can; this one was not begun. Try again a little later."""

    code, exit_code, http_status = "overloaded", 60, 429


class DeadlineExceeded(DeviceError, TimeoutError):
    """A request was not answered within the time that it was given."""

    code, exit_code, http_status = "deadline_exceeded", 61, 504


def tree(root: type[EdgeError] = EdgeError) -> list[type[EdgeError]]:
    """`root` and every class below it, in definition order."""
    found = [root]
    for child in root.__subclasses__():
        found += tree(child)
    return found


def from_json(body: str | bytes | dict[str, Any]) -> EdgeError:
    """The error a peer sent, as the class its `code` names.

    Raises:
        ProtocolError: the body is not one of our errors.
    """
    try:
        fields = json.loads(body) if isinstance(body, (str, bytes)) else dict(body)
        kind = {error.code: error for error in tree()}[fields["code"]]
        parts = {key: fields.get(key) for key in ("where", "got", "expected", "next_step")}
        return kind(fields.get("what", fields["error"]), **parts)
    except (ValueError, KeyError, TypeError) as e:
        raise ProtocolError(
            "the agent answered with an error that this version does not know", got=repr(body)[:200]
        ) from e
