"""Headless Chromium by its debugging protocol: a page, expressions, keys, pictures. Nothing but aiohttp is needed."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from chassis.logs import redact_path

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
    "--window-size=1200,800",
)


def chromium() -> str | None:
    """The browser of the distribution, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Tab:
    """One page. `errors` are uncaught exceptions and failed loads that the page's console showed."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.errors: list[str] = []
        self._reader = asyncio.create_task(self._read())

    async def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = answer
        text = msgspec.json.encode({"id": self._number, "method": method, "params": parameters}).decode()
        await self._socket.send_str(text)
        return await asyncio.wait_for(answer, 20)

    async def value(self, expression: str) -> Any:
        """The value of an expression, awaited when it is a promise."""
        options = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = await self.command("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression: str, timeout_s: float = 15.0) -> None:
        """Waits until an expression is true (an element is)."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            if await self.value(f"Boolean({expression})"):
                return
            if asyncio.get_running_loop().time() > deadline:
                text = await self.value("document.body.innerText")
                raise AssertionError(f"never true: {expression}\n{text}\n{self.errors}")
            await asyncio.sleep(0.05)

    async def fill(self, selector: str, text: str) -> None:
        await self.until(f"document.querySelector({_js(selector)})")
        await self.value(f"document.querySelector({_js(selector)}).focus()")
        await self.command("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        code = {"Enter": 13, "Tab": 9, " ": 32}[key]
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            await self.command("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)

    async def click(self, selector: str) -> None:
        await self.until(f"document.querySelector({_js(selector)})")
        await self.value(f"document.querySelector({_js(selector)}).click()")

    async def picture(self, path: Path) -> None:
        shot = await self.command("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        async for message in self._socket:
            said = msgspec.json.decode(message.data)
            if "id" in said:
                waiting = self._waiting.pop(said["id"])
                if not waiting.done():
                    waiting.set_result(said.get("result", {"error": said.get("error")}))
            elif said["method"] == "Runtime.exceptionThrown":
                details = said["params"]["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description", details["text"]))
            elif said["method"] == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.errors.append(
                    redact_path(f"{said['params']['entry']['text']} {said['params']['entry'].get('url', '')}")
                )


@asynccontextmanager
async def open_tab(folder: Path, *more_flags: str) -> AsyncIterator[Tab]:
    """A browser with a profile of its own in `folder`; it ends with the block."""
    program = chromium()
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        program,
        *FLAGS,
        *more_flags,
        f"--user-data-dir={folder}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with aiohttp.ClientSession() as session:
            port = await _port(folder / "DevToolsActivePort")
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                pages = [page for page in await answer.json() if page["type"] == "page"]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                tab = Tab(socket)
                for domain in ("Page", "Runtime", "Log"):
                    await tab.command(f"{domain}.enable")
                try:
                    yield tab
                finally:
                    await tab.close()
    finally:
        process.terminate()
        await process.wait()


async def _port(file: Path) -> int:
    for _ in range(400):
        if file.exists() and file.read_text().strip():
            return int(file.read_text().splitlines()[0])
        await asyncio.sleep(0.05)
    raise AssertionError("the browser did not start")


def _js(text: str) -> str:
    return msgspec.json.encode(text).decode()
