"""Running the installation, and keeping what is done."""
