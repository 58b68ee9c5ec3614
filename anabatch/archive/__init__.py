"""Reading archives: what lies where, what a file is, what its names and exports say.

Nothing here writes, and nothing here knows of the store.
"""
