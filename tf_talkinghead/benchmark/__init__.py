"""Speed and memory, measured beside the rate of the machine itself."""
