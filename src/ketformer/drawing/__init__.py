"""Every picture: circuits, attention, molecules and plots, as PNG, SVG or part of a page."""
