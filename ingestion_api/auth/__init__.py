"""Authentication by API keys, and what each key may do."""
