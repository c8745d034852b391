"""Plugins with bad manners."""
