"""The `edge` command: one thin module per command group, which parses, calls the API and prints.

A command imports what it needs inside its function, so that `edge --help` answers at once.
"""
