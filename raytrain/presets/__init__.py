"""Presets: one TOML file each, naming its source, command and expected figure."""
