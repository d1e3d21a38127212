"""The speed benchmark: glassprop beside its peers, each in a process of its own. The package proper does not need it."""
