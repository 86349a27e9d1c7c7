"""The dashboard: `streamlit run app.py`, or `orl app`. Everything it shows is in `orl_explore/ui`.

Streamlit imports this file as its server, and runs it as a script for every page that somebody opens.
"""

import streamlit as st

if __name__ == "__main__":
    from orl_explore.ui.shell import main

    main()
else:
    from orl_explore.ui.server import MIDDLEWARE, lifespan

    app = st.App(__file__, lifespan=lifespan, middleware=MIDDLEWARE)
