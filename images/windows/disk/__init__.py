"""What is read off a Windows disk: logs and dumps."""
