"""Settings: schema, YAML with positions, overrides, rules across settings, modes as stages."""
