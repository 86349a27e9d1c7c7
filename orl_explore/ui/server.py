"""The dashboard's server: it loads what the first page needs, opens the browser, and looks after its history."""

from __future__ import annotations

import ctypes
import importlib
import os
import threading
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pyarrow
import streamlit as st
from starlette.middleware import Middleware

from orl_explore.ui.history import OneStepAtATime

ARENAS, MOST_ARENAS = -8, 2
"""glibc's name for how many parts threads share its memory in, and that number."""

MIDDLEWARE = (Middleware(OneStepAtATime),)

WAIT = 0.5
"""Seconds after which the server surely answers."""


@asynccontextmanager
async def lifespan(_: st.App) -> AsyncIterator[None]:
    """Runs as long as the server does."""
    give_back_memory()
    importlib.import_module("orl_explore.ui.runs")  # not above: its caches want a server that is there
    if not st.get_option("server.headless"):
        opening = threading.Timer(WAIT, webbrowser.open, [address()])
        opening.daemon = True
        opening.start()
    yield


def give_back_memory() -> None:
    """Have memory that a page needed for a moment go back to the system; other pages of other threads cannot use it.

    Every thread of glibc's has an arena of its own and keeps what was freed in it, and so does Arrow; a page is a
    thread. With a run of COCO's size a fifth of the server's memory is such remains.
    """
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    with suppress(OSError, AttributeError, TypeError):  # another system's C library, or Windows
        ctypes.CDLL(None).mallopt(ARENAS, MOST_ARENAS)


def address() -> str:
    """Where a browser on this machine finds the dashboard, at the run and page that ORL_OPEN asks for."""
    host, opened = st.get_option("server.address"), os.environ.get("ORL_OPEN", "")
    root = f"http://{'localhost' if host in (None, '0.0.0.0', '::') else host}:{st.get_option('server.port')}"
    return f"{root}/?{opened}" if opened else root
