"""The server opens the browser where there is one."""

from __future__ import annotations

import asyncio

import pyarrow
import pytest

from orl_explore.ui import server


@pytest.mark.parametrize(
    ("headless", "host", "opened"),
    [
        (True, "localhost", []),
        (False, "localhost", ["http://localhost:8501"]),
        (False, "0.0.0.0", ["http://localhost:8501"]),
        (False, "10.0.0.7", ["http://10.0.0.7:8501"]),
    ],
)
def test_the_server_opens_the_browser(headless, host, opened, monkeypatch):
    options = {"server.headless": headless, "server.address": host, "server.port": 8501}
    calls = []
    monkeypatch.delenv("ORL_OPEN", raising=False)
    monkeypatch.setattr(server.st, "get_option", options.__getitem__)
    monkeypatch.setattr(server.webbrowser, "open", calls.append)
    monkeypatch.setattr(server, "WAIT", 0)

    async def serve():
        async with server.lifespan(None):
            await asyncio.sleep(0.2)

    asyncio.run(serve())
    assert calls == opened
    assert pyarrow.default_memory_pool().backend_name == "system"


def test_the_browser_opens_at_the_run_that_is_asked_for(monkeypatch):
    options = {"server.address": "localhost", "server.port": 8501}
    monkeypatch.setattr(server.st, "get_option", options.__getitem__)
    monkeypatch.setenv("ORL_OPEN", "page=neighbors&run=photos")
    assert server.address() == "http://localhost:8501/?page=neighbors&run=photos"
