"""What runs in the target: drivers, the stand-in provider, the agent; building and checking them."""
