"""An agent for a device that has none: what it is built of, what the device must have, and the way there.

`archive` builds the agent as one file, `probe` asks the device for facts, `examine` decides on them,
`wheelhouse` fetches the runtimes, `plan` turns all of it into steps, `install` carries them out over a
`Remote`. May import `device_agent`, `targets` and `edge_sdk.devices`.
"""
