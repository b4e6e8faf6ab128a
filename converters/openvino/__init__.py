"""From any source to OpenVINO's IR, in a process of its own: see docs/openvino.md and ADR 26.

`opened` asks, `child` answers; `roads` says which files OpenVINO is given for each format, `verdicts` what
its answer means for the source's operators, `compiled` what a caller must know of the IR. Only what runs in
the child (`child`, `reading`, `ends`, `listing`) imports openvino.
"""
