"""The dashboard: one module a page, each with `render(run)`. The only place that imports Streamlit."""
