"""From observations to a verdict; pure."""
