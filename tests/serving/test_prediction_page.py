"""The page of `cnncli serve` shows the classes of the image that it shows."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

BROWSER = """
const pause = ms => new Promise(done => setTimeout(done, ms));
const run = {name: "run", classes: ["a"], width: 8, height: 8, fit: "stretch", has_maps: false, max_bytes: 1e6};
const answers = {fast: 20, slow: 300, camera: 200};
const file = (label, side) => Object.assign(new Blob(), {label, side});
window.fetch = async (path, {body}) => {
  const label = body ? body.label ?? "camera" : null;
  if (label) await pause(answers[label]);
  const document = label ? [{path: label, predictions: [{label, probability: 1}]}] : run;
  return {ok: true, status: 200, json: async () => document};
};
window.createImageBitmap = async ({side}) => new OffscreenCanvas(side, side);
OffscreenCanvas.prototype.convertToBlob = async () => new Blob();
HTMLMediaElement.prototype.play = async () => {};
for (const side of ["videoWidth", "videoHeight"]) Object.defineProperty(HTMLVideoElement.prototype, side, {value: 8});
const getUserMedia = async () => { await pause(100); return new MediaStream(); };
Object.defineProperty(navigator, "mediaDevices", {value: {getUserMedia}});
const show = () => {
  draw();
  const shown = `${document.querySelector("#bars span")?.textContent} ${document.getElementById("canvas").width}`;
  document.body.dataset.found = shown;
};
Object.assign(window, {pause, file, show});
"""
"""A server that answers after the milliseconds of a label, and a camera; nothing takes real time."""
ACTIONS = {
    "slow upload": ("load(file('slow', 10)); await pause(10); load(file('fast', 20));", "fast 20"),
    "frame in flight": ("startLive(); await pause(150); load(file('fast', 20));", "fast 20"),
    "late permission": ("startLive(); await pause(10); load(file('fast', 20));", "fast 20"),
    "camera after an upload": ("load(file('slow', 10)); await pause(10); startLive();", "camera 8"),
}
"""Actions of a person, and the class and the width of the image that the page shows in the end."""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
@pytest.mark.parametrize("name", ACTIONS)
def test_the_classes_belong_to_the_image(tmp_path: Path, name: str) -> None:
    """An answer that arrives after a newer image was chosen does not replace the classes of the newer image."""
    actions, shown = ACTIONS[name]
    page = files("cnncli.serving").joinpath("prediction_page.html").read_text(encoding="utf-8")
    page = page.replace('<script nonce="{{nonce}}">', f"<script>{{{BROWSER}}}</script><script>")
    story = f"<script>(async () => {{ await pause(50); {actions} await pause(900); show(); }})();</script>"
    copy = tmp_path / "page.html"
    copy.write_text(page.replace("</body>", f"{story}</body>"), encoding="utf-8")
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    command += ["--virtual-time-budget=5000", "--dump-dom", copy.as_uri()]
    document = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout

    assert re.findall(r'data-found="([^"]*)"', document) == [shown]
