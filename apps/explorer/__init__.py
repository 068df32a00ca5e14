"""The explorer: Streamlit pages over a lab store. ``launch.py`` builds the command that starts it."""
