"""The web console: one page, served as it lies in `static/`."""
