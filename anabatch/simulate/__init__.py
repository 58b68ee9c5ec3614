"""Draws HEp-2 archives whose truth is known."""
