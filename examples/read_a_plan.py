"""Plans are values: compare targets, read the reason for every operator, before anything is written."""

from pathlib import Path

import edge_sdk

model = edge_sdk.load(Path(__file__).parent / "digits/digits.onnx")
for spec in model.inputs:
    print(f"input {spec.name}: {spec.dtype}{list(spec.shape)}")

for target in ("local", "rpi4", "null"):
    plan = edge_sdk.plan(model, target)
    answer = "accepted" if plan.accepted else "refused"
    print(f"{target}: {answer}, {plan.runtime} {plan.runtime_version} or later")
    for operator in plan.operators:
        print(f"  {operator.index:2} {operator.type:10} {operator.processor}  {operator.reason}")

try:
    edge_sdk.plan(model, "rpi44")
except edge_sdk.EdgeError as error:
    print(f"{error.code}: {error}")
