"""The Ethernet segment between target and peer: frames, faults, the recording."""
