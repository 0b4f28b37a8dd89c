"""A local page to try trained models: text, molecules and circuits (extra ``app``)."""
