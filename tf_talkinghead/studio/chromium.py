"""Control of a headless Chromium for tests and measurements, by the DevTools protocol over a pipe.

It needs no web driver and no package.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time

from tf_talkinghead.errors import InputError

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class Chromium:
    """A browser with one tab or several; methods act on the current tab.

        with Chromium(tmp_path) as page:
            page.open(path)
            page.evaluate("1 + 1")

    Args:
      folder: for the profile and downloads.
      camera: a film in Y4M or MJPEG that pages get as their camera, without asking the user.
      microphone: a WAV file that pages get as their microphone.
      width, height: pixels of the window.

    Raises:
      InputError: there is no such browser here.
    """

    def __init__(self, folder, camera=None, microphone=None, width=900, height=800):
        self._binary = next((path for path in map(shutil.which, _NAMES) if path), None)
        if self._binary is None:
            raise InputError(
                f"needs a browser: none of {', '.join(_NAMES)} is installed (Debian: apt-get "
                "install chromium)"
            )
        self.downloads = folder / "downloads"
        self.downloads.mkdir()
        self._profile = folder / "profile"
        self._flags = [f"--window-size={width},{height}"]
        if camera or microphone:
            self._flags += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        if camera:
            self._flags.append(f"--use-file-for-fake-video-capture={camera}")
        if microphone:
            self._flags.append(f"--use-file-for-fake-audio-capture={microphone}")
        self._calls, self._rest = 0, b""

    def __enter__(self):
        # Chromium reads commands from descriptor 3 and answers on 4, each message ended by a zero
        # byte.
        to_child, self._out = os.pipe()
        self._in, from_child = os.pipe()
        arguments = [
            self._binary, "--headless=new", "--no-sandbox", "--disable-gpu",
            "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-pipe",
            *self._flags, "--touch-events=enabled", f"--user-data-dir={self._profile}",
        ]  # fmt: skip
        shell = f'exec "$0" "$@" 3<&{to_child} 4>&{from_child}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, *arguments],
            pass_fds=(to_child, from_child),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_child)
        os.close(from_child)
        self._session = None
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))
        self.tab()
        return self

    def __exit__(self, *error):
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def tab(self):
        """Opens another tab and makes it the current one; returns a handle of it."""
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        return self._session, target

    def close_tab(self, tab):
        """Closes a tab by its handle; call `switch` before anything else."""
        self._session = None
        self.call("Target.closeTarget", targetId=tab[1])

    def switch(self, tab):
        """Makes a tab the current one, by its handle, and brings it to the front."""
        self._session = tab[0]
        self.call("Page.bringToFront")

    def open(self, path):
        """Opens a local file."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def visit(self, address):
        """Opens an http address."""
        self.call("Page.navigate", url=address)
        self.wait(
            f"document.readyState === 'complete' && location.href.startsWith({json.dumps(address)})"
        )

    def choose_files(self, selector, *paths):
        """Chooses files in a file input."""
        found = self.call(
            "Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})"
        )
        self.call(
            "DOM.setFileInputFiles",
            objectId=found["result"]["objectId"],
            files=[str(path) for path in paths],
        )

    def look(self, width, height, dark=False):
        """Sets the size of the page in pixels, and the light or dark colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path, whole=False):
        """Writes a PNG of the visible part, or of the whole page."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def evaluate(self, expression):
        """The value of a JavaScript expression; promises are awaited."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, expression, seconds=60):
        """Waits until a JavaScript expression is true; AssertionError after `seconds`."""
        end = time.time() + seconds
        while not self.evaluate(expression):
            assert time.time() < end, f"never true: {expression}"
            time.sleep(0.05)

    def key(self, key):
        """Presses and releases a key."""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" else ""
            )

    def click(self, selector):
        """Clicks on the middle of an element with the mouse."""
        x, y = self._middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def tap(self, selector):
        """Taps on the middle of an element with a finger."""
        x, y = self._middle(selector)
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def _middle(self, selector):
        return self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            f"e.scrollIntoView({{block: 'center'}});"
            " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; "
            "})()"
        )

    def call(self, method, **params):
        """The result of a DevTools method; AssertionError if the browser refuses it."""
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._calls:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _receive(self, seconds=60):
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], seconds)
            assert ready, "the browser does not answer"
            part = os.read(self._in, 1 << 16)
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)
