"""One script for each page of the explorer; they lay out what ``state.py`` and ``charts.py`` return."""
