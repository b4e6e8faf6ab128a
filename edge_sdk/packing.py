"""A conversion as a bundle: config, model, golden samples and plan in one OCI image layout."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import evolve

from converters.convert import Conversion
from device_agent import codec
from device_agent.bundle import (
    GOLDEN_INPUTS_TYPE,
    GOLDEN_OUTPUTS_TYPE,
    MODEL_PART_TYPE,
    MODEL_TYPE,
    PLAN_TYPE,
    SIGNATURE_FILE,
    STATEMENT_FILE,
    Bundle,
    BundleConfig,
    check_name,
    write_bundle,
)
from edge_sdk.staging import staged


def pack(conversion: Conversion, path: Path, *, name: str | None = None) -> Bundle:
    """Write `conversion` as a bundle in the folder `path`; see `edge_sdk.pack`."""
    artifact, plan = conversion.artifact, conversion.plan
    config = BundleConfig(
        name=check_name(name) if name is not None else deployment_name(conversion.model.name),
        target=plan.target,
        architecture=plan.architecture,
        runtime=artifact.runtime,
        runtime_version=artifact.runtime_version,
        model=artifact.title,
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        tolerance=artifact.tolerance,
        source_sha256=conversion.model.sha256,
        precision=artifact.precision,
        golden_samples=conversion.golden_samples,
        preprocessing=conversion.preprocessing,
        files=tuple(artifact.files),
        execution=artifact.execution,
    )
    layers = {
        artifact.title: (MODEL_TYPE, artifact.data),
        **{title: (MODEL_PART_TYPE, data) for title, data in artifact.files.items()},
        "golden_inputs.safetensors": (GOLDEN_INPUTS_TYPE, conversion.golden_inputs),
        "golden_outputs.safetensors": (GOLDEN_OUTPUTS_TYPE, conversion.golden_outputs),
        "plan.json": (PLAN_TYPE, codec.dumps(plan, indent=1).encode()),
    }
    with staged(path, "bundle", replaced=(STATEMENT_FILE, SIGNATURE_FILE)) as place:
        made = write_bundle(place, config, layers)
    return evolve(made, path=path)


def deployment_name(model_name: str) -> str:
    """A deployment's name made from a model's: lower case, other characters than a-z 0-9 . _ - become `-`."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", model_name.lower())[:64].strip("._-")
    return plain or "model"
