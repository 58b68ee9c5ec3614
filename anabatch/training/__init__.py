"""The commands that train the shipped networks, and the one that measures them."""
