"""The report: one HTML file that says what came in, what failed and why, and what was found.

Every section is a module of its own: it gathers facts from the store, draws its figures, and names the
template that shows both. `build.py` puts the sections in order; the file needs no network, no script
and no other file.
"""
