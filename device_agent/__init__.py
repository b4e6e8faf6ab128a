"""Everything that runs on a device, and the types both sides share.

Owns the wire (`protocol`, `tensors`, `errors`), the bundle format (`bundle`), the store and the
activation state machine, the HTTP server on a Unix socket and the worker processes that run models.
May import the standard library and the pure-Python packages that travel inside `edge-agent.pyz`
(starlette, uvicorn, attrs, cattrs and what they need). A runtime is imported only inside
`runtimes/<name>.py`, in a worker process. Python 3.10 is the floor here.
"""

__version__ = "0.1.0"
