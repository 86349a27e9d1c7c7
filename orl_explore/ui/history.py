"""The browser's history: one step is what a person did, whatever number of changes of the address that takes.

Streamlit adds a step for every change that the server makes: a page that was opened with a link would add one for each
of its defaults, a click that opens another page would take three, and *Back* would lead to where it came from.

And a link to another page that is clicked out of a field waits for a moment, and while the server is at work: Streamlit
sends what was typed last, behind the click, and with it the page that the reader is about to leave.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

SCRIPT = b"""<script>
(() => {
    const push = history.pushState, replace = history.replaceState;
    let acted = false;  // whether a person did something since the last step
    for (const kind of ['click', 'change', 'drop', 'keydown', 'paste', 'pointerup'])
        addEventListener(kind, () => { acted = true; }, true);
    addEventListener('popstate', () => { acted = false; }, true);
    history.pushState = (...step) => {
        (acted ? push : replace).apply(history, step);
        acted = false;
    };
    let left = -Infinity;  // when a field was left, milliseconds
    addEventListener('focusout', event => {
        if (event.target.matches?.('input, textarea')) left = performance.now();
    }, true);
    const follow = (link, until) => {  // what is said while the server is at work takes the place of what was typed
        const { testScriptState } = document.querySelector('[data-testid=stApp]')?.dataset ?? {};
        if (testScriptState === 'running' && performance.now() < until) setTimeout(follow, 50, link, until);
        else (link.isConnected ? link : [...document.links].find(other => other.href === link.href) ?? link).click();
    };
    addEventListener('click', event => {
        const link = event.target.closest?.('a[href]');
        if (!link || performance.now() - left > 400 || event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        event.stopImmediatePropagation();
        left = -Infinity;
        setTimeout(follow, 150, link, performance.now() + 3000);
    }, true);
})();
</script>
"""
"""Stands before Streamlit's own scripts, as the first changes come with the page."""

DROPPED = (b"accept-encoding", b"if-none-match", b"if-modified-since", b"range")
"""Of a request for the page: the answer is to be whole, as it gets the script."""

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[..., Awaitable[Any]], Callable[..., Awaitable[None]]], Awaitable[None]]


class OneStepAtATime:
    """ASGI middleware: gives every HTML page the script."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(
        self, scope: Scope, receive: Callable[..., Awaitable[Any]], send: Callable[..., Awaitable[None]]
    ) -> None:
        """Answer a request."""
        if scope["type"] != "http" or "." in scope["path"].rsplit("/", 1)[-1]:
            await self.app(scope, receive, send)
            return
        is_page = False

        async def answer(message: MutableMapping[str, Any]) -> None:
            nonlocal is_page
            if message["type"] == "http.response.start":
                headers = dict(message["headers"])
                is_page = headers.get(b"content-type", b"").startswith(b"text/html") and b"content-length" in headers
                if is_page and scope["method"] != "HEAD":
                    headers[b"content-length"] = str(int(headers[b"content-length"]) + len(SCRIPT)).encode()
                    message = {**message, "headers": [*headers.items()]}
            elif is_page and scope["method"] != "HEAD" and not message.get("more_body"):
                message = {**message, "body": message.get("body", b"") + SCRIPT}
            await send(message)

        kept = [(name, value) for name, value in scope["headers"] if name not in DROPPED]
        await self.app({**scope, "headers": kept}, receive, answer)
