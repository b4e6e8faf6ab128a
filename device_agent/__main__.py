"""`python -m device_agent` is the command `edge-agent`."""

from device_agent.main import main

if __name__ == "__main__":
    main()
