"""Devices as the host sees them: transports, the agent's client, uploads, forwarding.

The only package of the SDK that opens sockets. Everything above `transports` is the same for every way
of reaching an agent. May import `device_agent` (the wire and the bundle), `targets` and the standard
library; NumPy only inside the functions that give arrays.
"""
