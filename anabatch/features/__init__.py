"""From cell crops to feature vectors."""
