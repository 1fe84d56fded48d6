"""Compiled inner loops of the numeric core; nothing here knows what a user or an item is."""
