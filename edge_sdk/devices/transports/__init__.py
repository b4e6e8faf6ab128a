"""Ways to reach an agent: one module each, all passing tests/contracts/test_transport.py."""
