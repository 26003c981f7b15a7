"""What every layer may use: reading a user's files with care, and showing foreign text. It knows nobody."""
