"""The dashboard's server: it loads what the first page needs, opens the browser, and looks after its history."""

from __future__ import annotations

import importlib
import os
import threading
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import streamlit as st
from starlette.middleware import Middleware

from orl_explore.ui.history import OneStepAtATime

MIDDLEWARE = (Middleware(OneStepAtATime),)

WAIT = 0.5
"""Seconds after which the server surely answers."""


@asynccontextmanager
async def lifespan(_: st.App) -> AsyncIterator[None]:
    """Runs as long as the server does."""
    importlib.import_module("orl_explore.ui.runs")  # not above: its caches want a server that is there
    if not st.get_option("server.headless"):
        opening = threading.Timer(WAIT, webbrowser.open, [address()])
        opening.daemon = True
        opening.start()
    yield


def address() -> str:
    """Where a browser on this machine finds the dashboard, at the run and page that ORL_OPEN asks for."""
    host, opened = st.get_option("server.address"), os.environ.get("ORL_OPEN", "")
    root = f"http://{'localhost' if host in (None, '0.0.0.0', '::') else host}:{st.get_option('server.port')}"
    return f"{root}/?{opened}" if opened else root
