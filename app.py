"""The dashboard: `streamlit run app.py`, or `orl app`. Everything it shows is in `orl_explore/ui`."""

from orl_explore.ui.shell import main

main()
