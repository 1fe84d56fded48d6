"""Faust: the topology, its table, its agents, and the trainer."""
