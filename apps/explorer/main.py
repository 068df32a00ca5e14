"""The explorer's entry: ``mitral app --store LAB`` runs this script with Streamlit. Only the list of pages."""

import streamlit as st

if __name__ == "__main__":
    st.set_page_config(page_title="mitral", layout="wide")
    st.navigation([st.Page("pages/lab.py", title="Lab", default=True)]).run()
