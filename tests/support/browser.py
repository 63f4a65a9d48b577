"""A real browser for the tests of pages: Debian's Chromium without a window.

It is spoken to in DevTools' protocol over a pair of pipes, messages ending in a zero byte, so no
library is needed. Source: https://chromedevtools.github.io/devtools-protocol/ and Chromium's switch
--remote-debugging-pipe.
"""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
PHONE, DESKTOP = (390, 844), (1280, 900)  # CSS pixels


def find_chromium() -> str:
    """Returns the browser's program; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        pytest.skip("needs Chromium: apt-get install chromium")
    return found


class Browser:
    """One tab."""

    def __init__(self, requests: int, answers: int):
        self._requests, self._answers = requests, answers
        self._buffer, self._count, self._session = b"", 0, None
        self.said: list[str] = []  # errors and warnings of the page

    def attach(self) -> None:
        """Opens the tab."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        found = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method and returns its result; what the page says meanwhile is kept."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._requests, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, page: Path) -> None:
        """Shows a file and waits until it is loaded."""
        self.call("Page.navigate", url=page.resolve().as_uri())
        while self._read().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, script: str) -> Any:
        """Returns the value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def show(self, size: tuple[int, int], scheme: str) -> None:
        """Sets the width and height of the window, and the reader's colours, light or dark."""
        width, height = size
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def press(self, key: str) -> None:
        """Presses a key."""
        text = {"Enter": "\r"}.get(key, "")
        code = {"Enter": 13, "Tab": 9}[key]
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **({"text": text} if text and kind == "keyDown" else {}),
            )

    def screenshot(self, file: Path) -> None:
        """Writes the whole page as a PNG."""
        # Pictures further down are loaded when they are scrolled to.
        self.evaluate(
            "document.querySelectorAll('img').forEach(image => { image.loading = 'eager'; })"
        )
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(found["data"]))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._answers, 1 << 16)
            assert part, "the browser ended"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        kind, given = message.get("method"), message.get("params", {})
        if kind == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
            self.said.append(given["entry"]["text"])
        elif kind == "Runtime.exceptionThrown":
            self.said.append(given["exceptionDetails"]["text"])
        elif kind == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning"):
            self.said.append(json.dumps(given["args"]))
        return message


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Starts a browser whose files are in a folder, and ends it."""
    program = find_chromium()
    to_browser, requests = os.pipe()
    answers, from_browser = os.pipe()
    command = (
        # The browser reads its requests from descriptor 3 and answers on 4.
        f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
    )
    process = subprocess.Popen(
        [
            *("bash", "-c", command, program, "--headless", "--remote-debugging-pipe"),
            # As root, as in a container, Chromium has no sandbox of its own.
            *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
            *("--no-first-run", f"--user-data-dir={folder / 'profile'}"),
        ],
        pass_fds=(to_browser, from_browser),
        stdout=subprocess.DEVNULL,
        stderr=(folder / "chromium.log").open("w"),
        env={**os.environ, "HOME": str(folder)},
    )
    os.close(to_browser)
    os.close(from_browser)
    try:
        browser = Browser(requests, answers)
        browser.attach()
        yield browser
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        os.close(requests)
        os.close(answers)
