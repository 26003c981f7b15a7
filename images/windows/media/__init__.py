"""What a user brings: installation and driver discs."""
