"""Tests against emulated ARM boards: the road, a power cut, the runtimes. See `emulator`."""
