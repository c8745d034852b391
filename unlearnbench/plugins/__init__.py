"""What a plugin offers, how it is found, loaded and scaffolded, and which code an identity covers."""
