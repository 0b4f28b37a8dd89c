"""Pictures of circuits, attention, molecules and studies, as PNG, SVG or part of a page."""
