"""Headless Chromium by its debugging protocol: a tab, expressions, keys, pictures. Nothing but aiohttp is needed.

Chromium is a part of the distribution (`scripts/system-parts`). Where it is missing, `open_tab` fails and says so: a test that
needs a browser is never skipped in silence. All such tests carry the marker `system`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from chassis.logs import redact_path

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
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
)
KEYS = {"Enter": 13, "Tab": 9, " ": 32}
POLL_S = 0.05
ANSWER_S = 20.0
START_S = 30.0
STOP_S = 5.0


class Tab:
    """One page. `errors` are its uncaught exceptions, what it wrote to `console.error`, and loads that failed. `hear` is told
    every event of the protocol (method, parameters).
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.errors: list[str] = []
        self.hear: Callable[[str, dict[str, Any]], None] = _nothing
        self._reader = asyncio.create_task(self._read())

    async def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; its result."""
        self._number += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = answer
        await self._socket.send_json(
            {"id": self._number, "method": method, "params": parameters},
            dumps=lambda v: msgspec.json.encode(v).decode(),
        )
        said = await asyncio.wait_for(answer, ANSWER_S)
        assert "error" not in said, f"{method}: {said['error']}"
        result: dict[str, Any] = said["result"]
        return result

    async def open(self, url: str) -> None:
        """Goes to an address; returns when its document is complete."""
        await self.command("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def value(self, expression: str) -> Any:
        """The value of an expression, awaited when it is a promise. It counts as done by the user's hand."""
        answer = await self.command(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression: str, within_s: float = 15.0) -> Any:
        """The value of an expression, as soon as it is true (an element is)."""
        deadline = asyncio.get_running_loop().time() + within_s
        while not (found := await self.value(f"(found => found instanceof Node || found)({expression})")):
            if asyncio.get_running_loop().time() > deadline:
                text = await self.value("document.body.innerText")
                raise AssertionError(f"not within {within_s:.0f} s: {expression}\n{text}\n{self.errors}")
            await asyncio.sleep(POLL_S)
        return found

    async def fill(self, selector: str, text: str) -> None:
        """Types into a field."""
        await self.until(f"document.querySelector({js(selector)})")
        await self.value(f"document.querySelector({js(selector)}).focus()")
        await self.command("Input.insertText", text=text)

    async def choose(self, selector: str, text: str) -> None:
        """Picks the option of a list whose words contain `text`."""
        await self.until(
            f"[...document.querySelectorAll({js(selector)} + ' option')].some(o => o.text.includes({js(text)}))"
        )
        await self.value(
            f"(list => {{ list.value = [...list.options].find(o => o.text.includes({js(text)})).value;"
            f" list.dispatchEvent(new Event('change', {{ bubbles: true }})); }})(document.querySelector({js(selector)}))"
        )

    async def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            await self.command("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=KEYS[key], **text)

    async def click(self, selector: str) -> None:
        await self.until(f"document.querySelector({js(selector)})")
        await self.value(f"document.querySelector({js(selector)}).click()")

    async def picture(self, path: Path, *, whole: bool = False) -> None:
        """A PNG of what is seen, or of the whole page."""
        shot = await self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    async def pictures(self, folder: Path, name: str, *, whole: bool = False) -> None:
        """For people's eyes: by day, by night, on a narrow screen."""
        await self.picture(folder / f"{name}.png", whole=whole)
        dark = [{"name": "prefers-color-scheme", "value": "dark"}]
        await self.command("Emulation.setEmulatedMedia", features=dark)
        await self.picture(folder / f"{name}-night.png", whole=whole)
        narrow = {"width": 390, "height": 780, "deviceScaleFactor": 1, "mobile": False}
        await self.command("Emulation.setDeviceMetricsOverride", **narrow)
        await self.picture(folder / f"{name}-narrow.png", whole=whole)
        await self.command("Emulation.clearDeviceMetricsOverride")
        await self.command("Emulation.setEmulatedMedia", features=[])

    async def close(self) -> None:
        """Ends the listening; the tab itself goes with its browser."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        async for message in self._socket:
            said = msgspec.json.decode(message.data)
            if "id" in said:
                waiting = self._waiting.pop(said["id"])
                if not waiting.done():
                    waiting.set_result(said)
                continue
            self.hear(said["method"], said["params"])
            if error := _error_in(said["method"], said["params"]):
                self.errors.append(error)


@asynccontextmanager
async def open_tab(
    folder: Path, *more_flags: str, size: tuple[int, int] = (1200, 800), env: Mapping[str, str] | None = None
) -> AsyncIterator[Tab]:
    """A browser with a fresh profile in `folder`; it ends with the block. `env` is added to its environment."""
    process = await asyncio.create_subprocess_exec(
        _program(),
        *FLAGS,
        *more_flags,
        f"--window-size={size[0]},{size[1]}",
        f"--user-data-dir={folder}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
    )
    try:
        # The socket, once it is open, lives longer.
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=START_S)) as session:
            port = await _port(folder / "DevToolsActivePort", process)
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [page for page in await answer.json() if page["type"] == "page"]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                tab = Tab(socket)
                try:
                    for domain in ("Page", "Runtime", "Log"):
                        await tab.command(f"{domain}.enable")
                    yield tab
                finally:
                    await tab.close()
    finally:
        await _end(process)


def js(text: str) -> str:
    """A string as JavaScript writes it."""
    return msgspec.json.encode(text).decode()


def _nothing(_method: str, _params: dict[str, Any]) -> None:
    """Nobody listens."""


def _program() -> str:
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    assert found is not None, "Chromium is not installed: sudo scripts/system-parts"
    return found


def _error_in(method: str, params: dict[str, Any]) -> str | None:
    """An error that the page met, without the tokens in its addresses."""
    if method == "Runtime.exceptionThrown":
        details = params["exceptionDetails"]
        return str(details.get("exception", {}).get("description", details["text"]))
    if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
        return " ".join(str(part.get("value", part.get("description", ""))) for part in params["args"])
    if method == "Log.entryAdded" and params["entry"]["level"] == "error":
        return redact_path(f"{params['entry']['text']} {params['entry'].get('url', '')}")
    return None


async def _port(file: Path, process: asyncio.subprocess.Process) -> int:
    """The port that the browser wrote down. Raises AssertionError when it ended or stays silent."""
    for _ in range(round(START_S / POLL_S)):
        if file.exists() and (lines := file.read_text().splitlines()):
            return int(lines[0])
        assert process.returncode is None, f"the browser ended with {process.returncode} instead of starting"
        await asyncio.sleep(POLL_S)
    raise AssertionError(f"the browser did not start within {START_S:.0f} s")


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()


def unexpected(errors: Sequence[str], *expected: str) -> list[str]:
    """The errors that contain none of these words."""
    return [error for error in errors if not any(words in error for words in expected)]
