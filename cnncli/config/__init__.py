"""Configs: schema, YAML with positions, overrides, rules across settings, stages of each mode."""
