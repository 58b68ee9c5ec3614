"""The store: a ledger of actions over immutable parts. Nothing else opens its files."""
