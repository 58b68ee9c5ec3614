"""Data only: table schemas, label vocabularies, archive layouts."""
