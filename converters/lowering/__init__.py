"""ONNX operators lowered to the TFLite-level graph: `driver.lower`; one module per operator family.

Layouts are carried, not patched: each ONNX value is bound to a tensor and the order in which that tensor
holds its axes (see `layout`), so a Transpose costs nothing until an operator needs another order.
"""
