"""A local page to try trained models: text, molecules and circuits. The extra ``app``."""
