"""Plugins that fail, crash, hang or meddle, in one way each."""
