"""Official releases: rename tables, the settings they were published with, their quirks by name."""
