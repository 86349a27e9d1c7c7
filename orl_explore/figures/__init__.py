"""Plotly figures, one function a picture, for the dashboard and the notebooks alike. No Streamlit in here."""
